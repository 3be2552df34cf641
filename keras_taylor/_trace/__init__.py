"""Trace: a model as channels, with ties, locks and costs."""
