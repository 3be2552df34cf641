"""A function or a Keras 3 model as the bytes of a `.tflite` file."""

from __future__ import annotations

import re
import tempfile
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import keras
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from keras_taylor._keras.model import pack_inputs
from keras_taylor._keras.program import Call, Program, functional, infer
from keras_taylor._quantize.process import quiet
from keras_taylor._quantize.quantizers import Float16, Float32, Int8PTQ, Int8QAT, Int16x8PTQ, Quantizer
from keras_taylor.errors import ConversionError

Examples = Callable[[], Iterator[dict[str, Any]]]


def argument(name: str) -> str:
    """An input's name as TensorFlow takes it for an argument."""
    return re.sub(r"\W", "_", name)


def specs(model: Any) -> list[Any]:
    """What a file of this model takes: the batch is open, so that LiteRT can resize it."""
    return [tf.TensorSpec([None, *x.shape[1:]], x.dtype, name=argument(x.name)) for x in functional(model).inputs]


def serving(model: Any) -> Any:
    """The model in inference as a concrete function of its flat inputs."""
    source = functional(model)

    @tf.function(input_signature=specs(model), autograph=False)
    def serve(*inputs: Any) -> Any:
        fed = pack_inputs(source, inputs)
        return tuple(keras.tree.flatten(model(fed, training=False)))

    return serve.get_concrete_function()


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
            return _convert(tf.lite.TFLiteConverter.from_saved_model(folder), quantizer, program, examples)


def _convert(converter: Any, quantizer: Quantizer, program: Program, examples: Examples | None) -> bytes:
    if not isinstance(quantizer, Float32):
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if isinstance(quantizer, Float16):
        converter.target_spec.supported_types = [tf.float16]
    if isinstance(quantizer, Int8PTQ | Int8QAT):
        converter.inference_input_type = converter.inference_output_type = tf.as_dtype(quantizer.io)
    if isinstance(quantizer, Int8PTQ):
        wide = tf.lite.OpsSet.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8
        kind = wide if isinstance(quantizer, Int16x8PTQ) else tf.lite.OpsSet.TFLITE_BUILTINS_INT8
        # What has no integer kernel is computed in float, and reported.
        converter.target_spec.supported_ops = [kind, tf.lite.OpsSet.TFLITE_BUILTINS]
        converter.representative_dataset = examples
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
        f"{', from layer ' + ', '.join(repr(name) for name in origins) if origins else ''}. Replace it by operations that "
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
