"""A Keras 3 model as the bytes of a `.tflite` file."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from keras_taylor._data import batches
from keras_taylor._flatten import functional
from keras_taylor._quantize.config import Float16, Int8PTQ, Int8QAT, Int16x8PTQ, Quantizer

Examples = Callable[[], Iterator[list[Any]]]


def convert(model: Any, quantizer: Quantizer) -> bytes:
    """The model as a `.tflite` file. Every input takes one example; LiteRT resizes it to any batch."""
    source = functional(model)
    specs = [tf.TensorSpec([None, *x.shape[1:]], x.dtype, name=argument(x.name)) for x in source.inputs]

    @tf.function(input_signature=specs, autograph=False)
    def serve(*inputs: Any) -> Any:
        fed = keras.tree.pack_sequence_as(source._inputs_struct, list(inputs))
        return tuple(keras.tree.flatten(model(fed, training=False)))

    return convert_function(serve.get_concrete_function(), quantizer, examples_of(model, quantizer))


def convert_function(function: Any, quantizer: Quantizer, examples: Examples | None) -> bytes:
    """A concrete function as a `.tflite` file; `examples` yields the arguments of single calls, to take ranges from."""
    # Frozen here: the converter alone reads the variables of Keras 3 layers as uninitialised.
    converter = tf.lite.TFLiteConverter.from_concrete_functions([convert_variables_to_constants_v2(function)], tf.Module())
    if type(quantizer) is not Quantizer and quantizer.name != "float32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if isinstance(quantizer, Float16):
        converter.target_spec.supported_types = [tf.float16]
    if isinstance(quantizer, Int8PTQ | Int8QAT):
        kind = tf.lite.OpsSet.TFLITE_BUILTINS_INT8
        if isinstance(quantizer, Int16x8PTQ):
            kind = tf.lite.OpsSet.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8
        converter.target_spec.supported_ops = [kind]
        converter.inference_input_type = converter.inference_output_type = tf.as_dtype(quantizer.io)
        converter.representative_dataset = examples
    return bytes(converter.convert())


def examples_of(model: Any, quantizer: Quantizer) -> Examples | None:
    """What yields the calibration data of `quantizer` one by one; None where it needs none."""
    if not isinstance(quantizer, Int8PTQ):
        return None
    source = functional(model)

    def examples() -> Iterator[list[Any]]:
        for x, _, _ in batches(quantizer.calibration, examples=quantizer.examples, seed=quantizer.seed, labels=False):
            arrays = [np.asarray(a, tensor.dtype) for a, tensor in zip(keras.tree.flatten(x), source.inputs, strict=True)]
            yield from ([a[i : i + 1] for a in arrays] for i in range(len(arrays[0])))

    return examples


def argument(name: str) -> str:
    """An input's name as TensorFlow takes it for an argument."""
    return re.sub(r"\W", "_", name)
