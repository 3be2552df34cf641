"""A TensorFlow function as the bytes of a `.tflite` file."""

from __future__ import annotations

import re
import tempfile
import warnings
from typing import Any

import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from keras_taylor._keras.process import quiet
from keras_taylor._keras.program import Call, Program, infer
from keras_taylor.errors import ConversionError, listed
from keras_taylor.quantizers import Quantizer
from keras_taylor.quantizers._base import Examples


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
            try:
                return bytes(converter.convert())
            except Exception as error:  # the converter raises whatever its parts raise
                raise ConversionError(_explain(str(error), program)) from error


def _frozen(function: Any) -> Any:
    """The function with its variables as constants: the converter alone reads those of Keras 3 layers as uninitialised."""
    constant = convert_variables_to_constants_v2(function)

    # Called anew, because freezing loses the names of the inputs where a layer holds a constant tensor.
    @tf.function(input_signature=function.structured_input_signature[0], autograph=False)
    def serve(*inputs: Any) -> Any:
        return constant(*inputs)

    return serve.get_concrete_function()


def _explain(message: str, program: Program) -> str:
    """What the converter refuses, in the words of the model."""
    refused = sorted(set(re.findall(r"error: '(?:tf|tfl)\.(\w+)' op", message) or re.findall(r"\btf\.([A-Z]\w+)", message)))
    origins = [call.name for call in program.calls if refused and _kinds(call) & set(refused)]
    said = re.search(r"error: ([^\n]+)", message)
    return (
        f"Every operation of an exported model must have a LiteRT kernel. Received: "
        f"{', '.join(refused) or 'one that the converter does not name'}"
        f"{', from layer ' + listed(map(repr, origins), what='more') if origins else ''}. Replace it by operations that "
        "LiteRT has (https://ai.google.dev/edge/litert/models/ops_compatibility). The converter says: "
        f"{(said.group(1) if said else message).strip()[:300]}"
    )


def _kinds(call: Call) -> set[str]:
    """The TensorFlow operations that one call runs."""
    values = [tf.TensorSpec([1, *(d or 1 for d in tensor.shape[1:])], tensor.dtype) for tensor in call.inputs]

    @tf.function(input_signature=values, autograph=False)
    def alone(*inputs: Any) -> Any:
        args, kwargs = call.fill({tensor.index: x for tensor, x in zip(call.inputs, inputs, strict=True)})
        return infer(call, args, kwargs)

    return {operation.type for operation in alone.get_concrete_function().graph.get_operations()}
