"""A model in inference as a TensorFlow function of flat inputs: what a `.tflite` file is made of."""

from __future__ import annotations

import re
from typing import Any

import keras
import tensorflow as tf

from keras_taylor._keras.model import pack_inputs
from keras_taylor._keras.program import functional


def argument(name: str) -> str:
    """An input's name as TensorFlow takes it for an argument."""
    return re.sub(r"\W", "_", name)


def input_specs(model: Any) -> list[Any]:
    """What a file of this model takes: the batch is open, so that LiteRT can resize it."""
    return [tf.TensorSpec([None, *x.shape[1:]], x.dtype, name=argument(x.name)) for x in functional(model).inputs]


def serving(model: Any) -> Any:
    """The model in inference as a concrete function of its flat inputs."""
    source = functional(model)

    @tf.function(input_signature=input_specs(model), autograph=False)
    def serve(*inputs: Any) -> Any:
        fed = pack_inputs(source, inputs)
        return tuple(keras.tree.flatten(model(fed, training=False)))

    return serve.get_concrete_function()
