"""Half the bytes, nearly equal outputs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from keras_taylor.quantizers._base import Examples, Quantizer, register_quantizer


@register_quantizer("float16")
@dataclass(frozen=True, eq=False)
class Float16(Quantizer):
    """Weights are stored in half precision and computed with in single precision: half the bytes, nearly equal outputs.

    Example:
        >>> import keras_taylor as kt
        >>> kt.Float16()
        Float16()
    """

    weight_bits = 16
    tolerance = 3e-2

    def configure(self, converter: Any, examples: Examples | None = None) -> None:
        """Optimized, with float16 as the type of weights."""
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.target_spec.supported_types = [tf.float16]
