"""Precision: what the numbers of an exported model are stored and computed in."""
