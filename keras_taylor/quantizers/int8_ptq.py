"""8 bits, after training."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np
import tensorflow as tf

from keras_taylor._keras.fixed_batch import own_batch_size
from keras_taylor._keras.inputs import read_inputs
from keras_taylor._keras.serving import argument, serving
from keras_taylor._rebuild.verify import run
from keras_taylor._trace.graph import ChannelGraph
from keras_taylor._trace.input_range import warn_of_range
from keras_taylor.errors import BadInput, whole_number
from keras_taylor.quantizers._base import Examples, Prepared, Quantizer, register_quantizer
from keras_taylor.quantizers._integer import Integer

_COMPARED = 32
"""Examples on which the file is compared with the model."""


@register_quantizer("int8_ptq")
@dataclass(frozen=True, eq=False)
class Int8PTQ(Integer):
    """Weights and activations in 8 bits, after training: ranges are taken from calibration data.

    Args:
        calibration: some hundred training inputs as `fit` takes them; labels are ignored.
        examples: calibrate on at most this many (drawn at random from arrays).
        seed: for the draw.
        io: what the file takes and puts out: `"float32"`, `"int8"` or `"uint8"`.

    Example:
        >>> import numpy as np, keras_taylor as kt
        >>> images = np.zeros((16, 8, 8, 3), "float32")
        >>> kt.Int8PTQ(images)
        Int8PTQ(io='float32', examples=256, seed=0)
        >>> kt.Int8PTQ(images) == kt.Int8PTQ(images.copy()), kt.Int8PTQ(images) == kt.Int8PTQ(images + 1)
        (True, False)
    """

    calibration: Any = field(default=None, repr=False, metadata={"data": "training inputs: calibration=x_train"})
    examples: int = 256
    seed: int = 0

    operations: ClassVar[str] = "TFLITE_BUILTINS_INT8"

    def __post_init__(self) -> None:
        super().__post_init__()
        kind = type(self).__name__
        object.__setattr__(self, "examples", whole_number(f"{kind}(examples=)", self.examples))
        object.__setattr__(self, "seed", whole_number(f"{kind}(seed=)", self.seed, least=0))

    def prepare(self, graph: ChannelGraph, *, seed: int = 0, verbose: Any = "auto", batch_size: int | None = None) -> Prepared:
        """The model as it is, with calibration data; the file is compared on some of these."""
        inputs = read_inputs(graph.model, graph.program, self.calibration, 32, self.examples, self.seed)
        if all(np.ptp(x) == 0 for x in inputs):
            raise BadInput(f"Calibration data must vary. Received: {len(inputs[0])} examples of one constant value.")
        warn_of_range(graph.program, inputs, graph.model)
        names = [argument(name) for name in graph.program.input_names]
        size = batch_size or own_batch_size(graph.model) or 1

        def examples() -> Iterator[dict[str, Any]]:
            for start in range(0, len(inputs[0]), size):
                rows = np.arange(start, start + size) % len(inputs[0])  # filled up from the front
                # By name: the converter has an order of its own.
                yield {name: x[rows] for name, x in zip(names, inputs, strict=True)}

        few = [x[:_COMPARED] for x in inputs]
        return Prepared(serving(graph.model, batch_size), graph.model, few, run(graph.model, few), examples)

    def configure(self, converter: Any, examples: Examples | None = None) -> None:
        """Integer kernels; what has none is computed in float, and reported."""
        super().configure(converter, examples)
        converter.target_spec.supported_ops = [getattr(tf.lite.OpsSet, self.operations), tf.lite.OpsSet.TFLITE_BUILTINS]
        converter.representative_dataset = examples

    def stand_in(self, integers: bool = False) -> Quantizer:
        """Any ranges do: those of noise."""
        return replace(self, calibration=None, io=self.types[1] if integers else self.io)

    def with_data(self, data: Any, *, seed: int | None = None, loss: Any = None) -> Quantizer:
        """Calibrated on these data, unless it has some."""
        calibration = data if self.calibration is None else self.calibration
        return replace(self, calibration=calibration, seed=self.seed if seed is None else seed)
