"""The border to Keras: its private attributes and modules occur here alone."""
