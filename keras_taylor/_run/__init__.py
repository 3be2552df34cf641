"""The loops over one model: `prune` and `fit_with_pruning`."""
