"""A TensorFlow function as the bytes of a `.tflite` file."""

from __future__ import annotations

import re
import tempfile
import warnings
from collections.abc import Iterator
from typing import Any

import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from keras_taylor._keras.process import quiet
from keras_taylor._keras.program import Call, Program, infer
from keras_taylor.errors import ConversionError, listed
from keras_taylor.quantizers import Quantizer
from keras_taylor.quantizers._base import Examples

_LOOPS = {"While", "StatelessWhile"}


def convert(function: Any, quantizer: Quantizer, program: Program, examples: Examples | None = None) -> bytes:
    """A concrete function as a `.tflite` file.

    Args:
        function: its variables become constants.
        quantizer: the precision of the file.
        program: the model behind it, to find the layer that an operation comes from.
        examples: yields the inputs of single calls by name, to take the ranges of activations from.

    Raises:
        ConversionError: the converter refuses an operation; names it and the layer it came from.
    """
    with tempfile.TemporaryDirectory() as folder:
        # Gradients are of no use here, and those of some activations cannot be saved.
        options = tf.saved_model.SaveOptions(save_debug_info=True, experimental_custom_gradients=False)
        with quiet(), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "(?s).*tf.lite.Interpreter is deprecated")  # the converter uses its own
            tf.saved_model.save(tf.Module(), folder, signatures=_frozen(function), options=options)
            converter = tf.lite.TFLiteConverter.from_saved_model(folder)
            quantizer.configure(converter, examples)
            if converter.representative_dataset is not None:
                _check_loops(function, quantizer, program)
            try:
                return bytes(converter.convert())
            except Exception as error:  # the converter raises whatever its parts raise
                specs = function.structured_input_signature[0]
                open_batch = any(spec.shape.rank and spec.shape[0] is None for spec in specs)
                raise ConversionError(_explain(str(error), program, open_batch)) from error


def _check_loops(function: Any, quantizer: Quantizer, program: Program) -> None:
    """Refuse loops where ranges are to be taken from data: there the converter ends the process."""
    if not any(node.op in _LOOPS for node in _nodes(function)):
        return
    origins = [call.name for call in program.calls if any(node.op in _LOOPS for node in _nodes(_alone(call)))]
    raise ConversionError(
        f"A model for {quantizer.name} must have no loops, in which the converter cannot take ranges. Received: one from "
        f"{listed(map(repr, origins), what='more') or 'an operation of the model'}. Build recurrent layers with unroll=True "
        "(the weights are the same), or use kt.DynamicRange() or kt.Float16()."
    )


def _nodes(function: Any) -> Iterator[Any]:
    """The operations of a function, and of the functions that it calls."""
    graph = function.graph.as_graph_def()
    yield from graph.node
    for inner in graph.library.function:
        yield from inner.node_def


def _frozen(function: Any) -> Any:
    """The function with its variables as constants: the converter alone reads those of Keras 3 layers as uninitialised."""
    constant = convert_variables_to_constants_v2(function)

    # Called anew, because freezing loses the names of the inputs where a layer holds a constant tensor.
    @tf.function(input_signature=function.structured_input_signature[0], autograph=False)
    def serve(*inputs: Any) -> Any:
        return constant(*inputs)

    return serve.get_concrete_function()


def _explain(message: str, program: Program, open_batch: bool) -> str:
    """What the converter refuses, in the words of the model."""
    refused = sorted(set(re.findall(r"error: '(?:tf|tfl)\.(\w+)' op", message) or re.findall(r"\btf\.([A-Z]\w+)", message)))
    origins = [call.name for call in program.calls if refused and _kinds(call) & set(refused)]
    remedy = "Replace it by operations that LiteRT has (https://ai.google.dev/edge/litert/models/ops_compatibility)."
    if open_batch and any(name.startswith("TensorList") for name in refused):  # whose length depends on the batch size
        remedy = "Recurrent layers convert with a batch size of their own: kt.quantize(..., batch_size=1)."
    said = re.search(r"error: (?:loc\(.*\): )?([^\n]+)", message)
    return (
        f"Every operation of an exported model must have a LiteRT kernel. Received: "
        f"{', '.join(refused) or 'one that the converter does not name'}"
        f"{', from layer ' + listed(map(repr, origins), what='more') if origins else ''}. {remedy} The converter says: "
        f"{(said.group(1) if said else message).strip()[:300]}"
    )


def _kinds(call: Call) -> set[str]:
    """The TensorFlow operations that one call runs."""
    return {operation.type for operation in _alone(call).graph.get_operations()}


def _alone(call: Call) -> Any:
    """One call as a function of its inputs, for one example."""
    values = [tf.TensorSpec([1, *(d or 1 for d in tensor.shape[1:])], tensor.dtype) for tensor in call.inputs]

    @tf.function(input_signature=values, autograph=False)
    def alone(*inputs: Any) -> Any:
        args, kwargs = call.fill({tensor.index: x for tensor, x in zip(call.inputs, inputs, strict=True)})
        return infer(call, args, kwargs)

    return alone.get_concrete_function()
