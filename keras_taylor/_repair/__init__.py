"""Repair without training: refit what is left so that it does the work of what was removed."""
