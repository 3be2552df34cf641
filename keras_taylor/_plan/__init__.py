"""Plan: which channels stay, under a hard budget."""
