"""`kt.quantize`: a Keras model as a `.tflite` file of a given precision, checked before it is handed out."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from keras_taylor._keras.inputs import read_inputs
from keras_taylor._keras.losses import summed_loss
from keras_taylor._keras.model import layers_of
from keras_taylor._keras.program import Program, flatten
from keras_taylor._quantize import qat
from keras_taylor._quantize.convert import argument, convert, serving, specs
from keras_taylor._quantize.float_operations import float_operations
from keras_taylor._quantize.process import unchanged
from keras_taylor._quantize.quantizers import Float16, Float32, Int8PTQ, Int8QAT, Quantizer, quantizer_for
from keras_taylor._quantize.tflite import LiteModel
from keras_taylor._rebuild.verify import example_inputs, relative_error, run
from keras_taylor._trace.input_range import warn_of_range
from keras_taylor.errors import BadInput, ConversionError, ExportMismatch

_TOLERANCE: dict[type[Quantizer], float] = {Float32: 1e-3, Float16: 3e-2}
_COARSE = 1.0
"""Largest relative error of an 8-bit file: beyond it, putting out zero would be no worse."""
_FAR = 0.25
"""An error of which the user should know."""


@dataclass(frozen=True, eq=False)
class Quantized:
    """What `kt.quantize` returns.

    Attributes:
        content: the `.tflite` file.
        quantizer: how it was made.
        model: the Keras model: for `Int8QAT` a copy with the trained weights, otherwise the model itself.
        max_relative_error: largest difference between the file's outputs, run by LiteRT, and this model's, relative to the
            largest magnitude of an output. On calibration or training examples where there are any, else on random inputs.
            For `Int8QAT`, the difference from the trained model with rounding simulated.
        inputs: names of the file's inputs, in the model's order.
    """

    content: bytes
    quantizer: Quantizer
    model: Any
    max_relative_error: float
    inputs: tuple[str, ...]

    def lite(self, threads: int = 1) -> LiteModel:
        """The file, to be called like a function."""
        return LiteModel(self.content, self.inputs, threads)

    @cached_property
    def float_operations(self) -> dict[str, int]:
        """How many operations of each kind the file computes in float32."""
        return float_operations(self.content)

    def __repr__(self) -> str:
        return f"<Quantized: {self.model.name!r}, {self.quantizer.name}, {len(self.content):,} bytes>"


def quantize(model: Any, quantizer: str | Quantizer | None = None, *, seed: int = 0) -> Quantized:
    """Convert a model to LiteRT in the given precision, run the file, and compare it with the model.

    The file takes one example at a time, or any batch size after `interpreter.resize_tensor_input`.

    Args:
        model: a built Functional or Sequential model; it is not changed. For `Int8QAT` it must be compiled, or the
            quantizer name a loss.
        quantizer: `kt.Float16()`, `kt.DynamicRange()`, `kt.Int8PTQ(calibration)`, `kt.Int16x8PTQ(calibration)`,
            `kt.Int8QAT(data)`, the name of one that needs no data, or None for float32.
        seed: for the random inputs of the check.

    Returns:
        The file as bytes, and the model that it came from.

    Raises:
        BadInput: missing or unusable calibration data, an unknown length in an input, mixed precision.
        UnsupportedModel: for `Int8QAT`, a layer has no legacy form.
        ConversionError: the converter refuses an operation.
        ExportMismatch: the file computes something else than the model.

    Example:
        >>> import keras, keras_taylor as kt
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
        >>> kt.quantize(model, "float16").quantizer
        Float16()
    """
    chosen = quantizer_for(quantizer)
    program = flatten(model)
    check_convertible(model, program)
    _check_data(chosen)
    with unchanged():
        return _quantize(model, program, chosen, seed)


def _quantize(model: Any, program: Program, chosen: Quantizer, seed: int) -> Quantized:
    names = tuple(argument(x) for x in program.input_names)
    if isinstance(chosen, Int8QAT):
        trained, copy = qat.train(model, chosen, summed_loss(model, chosen.loss))
        content = convert(qat.serving(trained, specs(model)), chosen, program)
        inputs = read_inputs(model, program, chosen.data, 32, 32, chosen.seed)
        return _checked(Quantized(content, chosen, copy, 0.0, names), inputs, qat.outputs(trained, inputs))
    if not isinstance(chosen, Int8PTQ):
        content = convert(serving(model), chosen, program)
        inputs = example_inputs(program, seed, batch=1)
        return _checked(Quantized(content, chosen, model, 0.0, names), inputs, run(model, inputs))
    inputs = read_inputs(model, program, chosen.calibration, 32, chosen.examples, chosen.seed)
    if all(np.ptp(x) == 0 for x in inputs):
        raise BadInput(f"Calibration data must vary. Received: {len(inputs[0])} examples of one constant value.")
    warn_of_range(program, [x[:64] for x in inputs])

    def examples() -> Iterator[dict[str, Any]]:
        # By name: the converter has an order of its own.
        yield from ({name: x[i : i + 1] for name, x in zip(names, inputs, strict=True)} for i in range(len(inputs[0])))

    content = convert(serving(model), chosen, program, examples)
    few = [x[:32] for x in inputs]
    return _checked(Quantized(content, chosen, model, 0.0, names), few, run(model, few))


def check_convertible(model: Any, program: Program) -> None:
    """Raise `BadInput` for what no file can be made of."""
    for tensor in program.inputs:
        if None in tensor.shape[1:]:
            raise BadInput(
                f"Inputs of an exported model must have known lengths. Received: shape {tensor.shape}. Rebuild the model on "
                "keras.Input with a full shape."
            )
    qat.check_finite((weight.path, weight) for weight in model.weights)
    coarse = {layer.compute_dtype for layer in layers_of(model)} & {"float16", "bfloat16"}
    if coarse:
        raise BadInput(
            f"An exported model must compute in float32. Received: {model.name!r}, which computes in {coarse.pop()}. Build "
            "it again without the mixed precision policy and call set_weights(model.get_weights())."
        )


def _check_data(quantizer: Quantizer) -> None:
    for kind, name in ((Int8PTQ, "calibration"), (Int8QAT, "data")):
        if isinstance(quantizer, kind) and getattr(quantizer, name) is None:
            raise BadInput(
                f"{type(quantizer).__name__} must have {name}. Received: None. Pass training "
                f"{'inputs: calibration=x_train' if kind is Int8PTQ else 'data with labels: data=(x_train, y_train)'}."
            )
        if isinstance(quantizer, kind) and isinstance(getattr(quantizer, name), Iterator):
            raise BadInput(
                f"{name} of {type(quantizer).__name__} must be readable more than once. Received: an iterator. Pass arrays, a "
                "tf.data.Dataset or a PyDataset."
            )


def _checked(made: Quantized, inputs: list[Any], expected: list[Any]) -> Quantized:
    try:
        outputs = made.lite()(inputs)
    except RuntimeError as failure:
        raise ConversionError(
            f"LiteRT must be able to run the {made.quantizer.name} file of {made.model.name!r}. Received: "
            f"{' '.join(str(failure).split())}. Replace the operation, or use another precision."
        ) from failure
    error = relative_error(expected, outputs)
    tolerance = _TOLERANCE.get(type(made.quantizer), _COARSE)
    if not error <= tolerance:
        raise ExportMismatch(
            f"The exported file must compute what {made.model.name!r} computes. Received: a relative error of {error:.1e} "
            f"(tolerance {tolerance:.0e}). Check the model for operations that LiteRT lacks, or for NaN; for 8 bits, "
            "whether the calibration data are scaled as in training."
        )
    if error > _FAR and tolerance == _COARSE:
        warnings.warn(
            f"The {made.quantizer.name} file of {made.model.name!r} differs from the model by {error:.2f} of the largest "
            "output. Measure its accuracy with kt.measure before you use it; kt.Int8QAT or kt.Float16 come closer.",
            stacklevel=4,
        )
    return replace(made, max_relative_error=error)
