"""Nothing is quantized."""

from __future__ import annotations

from dataclasses import dataclass

from keras_taylor.quantizers._base import Quantizer, register_quantizer


@register_quantizer("float32")
@dataclass(frozen=True, eq=False)
class Float32(Quantizer):
    """Nothing is quantized: the reference that the others are compared with.

    Example:
        >>> import keras_taylor as kt
        >>> kt.quantizers.Float32().bits(elements=9)
        (32, 32)
    """

    tolerance = 1e-3
