"""8-bit weights and 16-bit activations, after training."""

from __future__ import annotations

from dataclasses import dataclass

from keras_taylor.quantizers._base import register_quantizer
from keras_taylor.quantizers.int8_ptq import Int8PTQ


@register_quantizer("int16x8_ptq")
@dataclass(frozen=True, eq=False)
class Int16x8PTQ(Int8PTQ):
    """As `Int8PTQ`, with activations in 16 bits. `io` is `"float32"` or `"int16"`.

    The converter gives a layer that is called several times one scale for all calls: there int8 can be closer.

    Example:
        >>> import keras_taylor as kt
        >>> kt.quantizers.Int16x8PTQ(io="int16").bits(elements=9)
        (8, 16)
    """

    activation_bits = 16
    types = ("float32", "int16")
    operations = "EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8"
