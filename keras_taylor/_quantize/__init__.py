"""Quantize and export: all that knows TFLite, LiteRT, TFMOT and tf_keras."""
