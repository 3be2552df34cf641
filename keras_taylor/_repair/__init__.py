"""Repair: refit a pruned model without training."""
