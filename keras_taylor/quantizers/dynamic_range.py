"""8-bit weights without data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from keras_taylor.quantizers._base import Examples, Quantizer, register_quantizer


@register_quantizer("dynamic")
@dataclass(frozen=True, eq=False)
class DynamicRange(Quantizer):
    """Weights are stored in 8 bits; activations stay float between layers and are quantized, batch by batch, inside them.

    Needs no data. The converter leaves weights of fewer than 1,024 elements in float.

    Example:
        >>> import keras_taylor as kt
        >>> kt.DynamicRange().bits(elements=1000), kt.DynamicRange().bits(elements=1024)
        ((32, 32), (8, 8))
    """

    weight_bits = 8
    activation_bits = 8
    least_elements = 1024

    def configure(self, converter: Any, examples: Examples | None = None) -> None:
        """Optimized, and nothing said of activations."""
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
