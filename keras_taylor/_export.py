"""Export to TFLite, and check that the file computes what the model computes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from keras_taylor._files import check_writable, write_atomically
from keras_taylor._flatten import flatten, functional
from keras_taylor._lite import LiteModel
from keras_taylor._quantize.config import Float16, Quantizer
from keras_taylor._verify import example_inputs, relative_error, run
from keras_taylor.errors import BadInput, ExportMismatch

_TOLERANCE = {type(None): 1e-3, Float16: 3e-2}


@dataclass(frozen=True)
class Export:
    """An exported file.

    Attributes:
        path: where it is.
        bytes: its size.
        max_relative_error: largest difference between its outputs, run by LiteRT, and the Keras model's, relative to the
            largest magnitude of an output.
    """

    path: Path
    bytes: int
    max_relative_error: float


def export_tflite(model: Any, path: str | Path, quantizer: Quantizer | None = None, *, seed: int = 0) -> Export:
    """Write a model as a `.tflite` file, run the file with LiteRT, and compare it with the model.

    The file appears at `path` only after the check has passed. It takes one example at a time, or any batch
    size after `interpreter.resize_tensor_input`.

    Args:
        model: a built Functional or Sequential model.
        path: the file to write; its folder must exist.
        quantizer: None for float32, or `kt.Float16()`.
        seed: for the random inputs of the check.

    Returns:
        Path, size in bytes, and the error that was measured.

    Raises:
        BadInput: an unwritable path, an unknown quantizer, or an input with an unknown length (other than the batch).
        ExportMismatch: the file computes something else than the model; nothing is written.

    Example:
        >>> import keras, tempfile, pathlib, keras_taylor as kt
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
        >>> folder = pathlib.Path(tempfile.mkdtemp())
        >>> kt.export_tflite(model, folder / "model.tflite", quantizer=kt.Float16()).path.name
        'model.tflite'
    """
    path = check_writable(path)
    if type(quantizer) not in _TOLERANCE:
        raise BadInput(f"quantizer must be None or kt.Float16(). Received: {quantizer!r}.")
    program = flatten(model)
    for tensor in program.inputs:
        if None in tensor.shape[1:]:
            raise BadInput(
                f"Inputs of an exported model must have known lengths. Received: shape {tensor.shape}. Rebuild the model on "
                "keras.Input with a full shape."
            )
    coarse = {layer.compute_dtype for layer in model._flatten_layers()} & {"float16", "bfloat16"}
    if coarse:
        raise BadInput(
            f"An exported model must compute in float32. Received: {model.name!r}, which computes in {coarse.pop()}. Build "
            "it again without the mixed precision policy and call set_weights(model.get_weights())."
        )
    content = _convert(model, quantizer)
    inputs = example_inputs(program, seed, batch=1)
    error = relative_error(
        run(model, inputs), LiteModel(content, [_argument(x.name) for x in functional(model).inputs])(inputs)
    )
    if not error <= _TOLERANCE[type(quantizer)]:
        raise ExportMismatch(
            f"The exported file must compute what {model.name!r} computes. Received: a relative error of {error:.1e} on random "
            f"inputs (tolerance {_TOLERANCE[type(quantizer)]:.0e}). "
            "Check the model for operations that LiteRT lacks, or for NaN."
        )
    write_atomically(path, lambda part: Path(part).write_bytes(content))
    return Export(path, len(content), error)


def _convert(model: Any, quantizer: Quantizer | None) -> bytes:
    source = functional(model)
    specs = [tf.TensorSpec([None, *x.shape[1:]], x.dtype, name=_argument(x.name)) for x in source.inputs]

    @tf.function(input_signature=specs, autograph=False)
    def serve(*inputs: Any) -> Any:
        return tuple(
            keras.tree.flatten(model(keras.tree.pack_sequence_as(source._inputs_struct, list(inputs)), training=False))
        )

    # Frozen here: the converter alone reads the variables of Keras 3 layers as uninitialised.
    frozen = convert_variables_to_constants_v2(serve.get_concrete_function())
    converter = tf.lite.TFLiteConverter.from_concrete_functions([frozen], tf.Module())
    if isinstance(quantizer, Float16):
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.target_spec.supported_types = [tf.float16]
    return bytes(converter.convert())


def _argument(name: str) -> str:
    """An input's name as TensorFlow takes it for an argument."""
    return re.sub(r"\W", "_", name)
