"""Quantize and export: a model in a precision as a `.tflite` file that was checked."""
