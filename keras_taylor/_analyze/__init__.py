"""What pruning would keep, before it happens."""
