"""What `export_tflite(quantizer=)` takes: plain values that say how an exported model stores its numbers."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Quantizer:
    """Base class of the quantizers."""


@dataclass(frozen=True)
class Float16(Quantizer):
    """Weights are stored in half precision and computed with in single precision: half the bytes, nearly equal outputs.

    Example:
        >>> import keras_taylor as kt
        >>> kt.Float16()
        Float16()
    """
