"""Images from somewhere: one module for each kind of source that `--data` names."""
