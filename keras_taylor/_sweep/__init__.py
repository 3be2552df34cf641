"""Pruning and precision on one axis: a resumable grid, its table, its figure and its answer in words."""
