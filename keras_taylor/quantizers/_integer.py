"""What the integer precisions share: the types that their files take and put out."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

import tensorflow as tf

from keras_taylor.errors import BadInput
from keras_taylor.quantizers._base import Examples, Quantizer


@dataclass(frozen=True, eq=False)
class Integer(Quantizer):
    """A precision of integer weights and activations.

    Args:
        io: what the file takes and puts out: `"float32"`, or an integer type, whose scale and zero point stand in the file.

    Attributes:
        types: what `io` may be; the second one is that of the activations.
    """

    io: str = field(default="float32", kw_only=True)

    weight_bits = 8
    activation_bits = 8
    integer = True
    types: ClassVar[tuple[str, ...]] = ("float32", "int8", "uint8")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.io not in self.types:
            raise BadInput(f"{type(self).__name__}(io=) must be one of {', '.join(self.types)}. Received: {self.io!r}.")

    def configure(self, converter: Any, examples: Examples | None = None) -> None:
        """Optimized, with the types that the file takes and puts out."""
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.inference_input_type = converter.inference_output_type = tf.as_dtype(self.io)
