"""Export to TFLite, and check that the file computes what the model computes."""

from __future__ import annotations

import re
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from keras_taylor._files import check_writable, write_atomically
from keras_taylor._flatten import flatten, functional
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


class LiteModel:
    """A `.tflite` file in LiteRT, called like a function.

    Args:
        model: the bytes of the file, or its path.
        inputs: names of the model's inputs in the order in which arrays are passed; needed with several inputs.
        threads: of the interpreter.

    Raises:
        BadInput: several inputs and no order, or names that the file does not have.

    Example:
        >>> import keras, numpy as np, tempfile, pathlib, keras_taylor as kt
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
        >>> file = kt.export_tflite(model, pathlib.Path(tempfile.mkdtemp()) / "model.tflite")
        >>> kt.LiteModel(file.path)([np.ones((5, 4))])[0].shape
        (5, 3)
    """

    def __init__(self, model: bytes | str | Path, inputs: Sequence[str] | None = None, threads: int = 1) -> None:
        source = {"model_content": model} if isinstance(model, bytes) else {"model_path": str(model)}
        self._interpreter = Interpreter(num_threads=threads, **source)
        self._interpreter.allocate_tensors()
        runner = self._interpreter.get_signature_runner()
        self._inputs, outputs = runner.get_input_details(), runner.get_output_details()
        self._outputs = [outputs[name]["index"] for name in sorted(outputs, key=lambda name: int(name.rsplit("_", 1)[-1]))]
        self._order = list(inputs) if inputs is not None else list(self._inputs)
        if set(self._order) != set(self._inputs) or (inputs is None and len(self._inputs) > 1):
            raise BadInput(f"inputs must name the file's inputs in order. Received: {inputs!r}; it has {list(self._inputs)}.")

    def __call__(self, inputs: Sequence[Any]) -> list[Any]:
        """The outputs, in the Keras model's order, for arrays of any batch size."""
        self._feed(inputs if isinstance(inputs, (list, tuple)) else [inputs])
        self._interpreter.invoke()
        return [self._interpreter.get_tensor(index) for index in self._outputs]

    def latency_ms(self, inputs: Sequence[Any], runs: int = 50, warm_up: int = 5) -> float:
        """Median time of one invocation in milliseconds, after warm-up."""
        self._feed(inputs)
        times = []
        for i in range(warm_up + runs):
            start = time.perf_counter()
            self._interpreter.invoke()
            if i >= warm_up:
                times.append(time.perf_counter() - start)
        return 1000.0 * statistics.median(times)

    def _feed(self, inputs: Sequence[Any]) -> None:
        arrays = [(self._inputs[name], np.asarray(x)) for name, x in zip(self._order, inputs, strict=True)]
        for details, array in arrays:
            self._interpreter.resize_tensor_input(details["index"], array.shape)
        self._interpreter.allocate_tensors()
        for details, array in arrays:
            self._interpreter.set_tensor(details["index"], array.astype(details["dtype"]))
