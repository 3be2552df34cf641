"""The `keras-taylor` command."""
