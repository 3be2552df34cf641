"""Files straight from the converter, made without this package."""

import keras
import numpy as np
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2 as freeze

from keras_taylor.litert._flatbuffer import _parsed, _schema
from tests import nets

layers = keras.layers


def converted(model, batch=None, io=None):
    """A `.tflite` file straight from the converter: with a batch size of its own, or in 8 bits."""
    shape = [batch, *model.inputs[0].shape[1:]]
    function = tf.function(lambda x: model(x, training=False), input_signature=[tf.TensorSpec(shape)], autograph=False)
    converter = tf.lite.TFLiteConverter.from_concrete_functions([freeze(function.get_concrete_function())], tf.Module())
    if io is not None:
        x = np.random.default_rng(0).normal(size=(64, *shape[1:])).astype("float32")
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        if io == "int16":
            name = "EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8"
            converter.target_spec.supported_ops = [getattr(tf.lite.OpsSet, name)]
        converter.inference_input_type = converter.inference_output_type = tf.as_dtype(io)
        converter.representative_dataset = lambda: ([row[None]] for row in x)
    return converter.convert()


def exported(model):
    function = tf.function(
        lambda *x: tuple(keras.tree.flatten(model(list(x) if len(x) > 1 else x[0], training=False))),
        input_signature=[tf.TensorSpec([None, *x.shape[1:]], x.dtype, name=x.name) for x in model.inputs],
        autograph=False,
    )
    frozen = freeze(function.get_concrete_function())
    return tf.lite.TFLiteConverter.from_concrete_functions([frozen], tf.Module()).convert()


def several(a, b):
    return exported(nets.randomized(keras.Model([a, b], [layers.Dense(2)(a), layers.Dense(2)(b)])))


def operations(content):
    """The names of all operations of a file, in order."""
    file, codes = (
        _parsed(content),
        {value: name for name, value in vars(_schema().BuiltinOperator).items() if isinstance(value, int)},
    )
    used = [codes[max(code.builtinCode, code.deprecatedBuiltinCode)] for code in file.operatorCodes]
    return [used[operation.opcodeIndex] for graph in file.subgraphs for operation in graph.operators]
