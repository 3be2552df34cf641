"""The loop over a grid of targets, precisions and seeds."""
