"""A model in inference as a TensorFlow function of flat inputs: what a `.tflite` file is made of."""

from __future__ import annotations

import re
from typing import Any

import keras
import tensorflow as tf

from keras_taylor._keras.fixed_batch import own_batch_size
from keras_taylor._keras.model import pack_inputs
from keras_taylor._keras.program import functional
from keras_taylor.errors import BadInput, in_short


def argument(name: str) -> str:
    """An input's name as TensorFlow takes it for an argument."""
    return re.sub(r"\W", "_", name)


def input_specs(model: Any, batch_size: int | None = None) -> list[Any]:
    """What a file of this model takes: so many examples at a time; without a number, as many as the model itself.

    Where that is open, LiteRT can resize it.
    """
    size = batch_size or own_batch_size(model)
    return [tf.TensorSpec([size, *x.shape[1:]], x.dtype, name=argument(x.name)) for x in functional(model).inputs]


def serving(model: Any, batch_size: int | None = None, *, like: Any = None) -> Any:
    """The model in inference as a concrete function of its flat inputs, with the batch size of `input_specs`.

    Args:
        model: a functional model.
        batch_size: as for `input_specs`.
        like: the model that names the inputs; the model itself by default.
    """
    source = functional(model)

    @tf.function(input_signature=input_specs(like or model, batch_size), autograph=False)
    def serve(*inputs: Any) -> Any:
        fed = pack_inputs(source, inputs)
        return tuple(keras.tree.flatten(model(fed, training=False)))

    try:
        return serve.get_concrete_function()
    except (ValueError, TypeError) as error:
        if batch_size is None:
            raise
        raise BadInput(
            f"batch_size must be one that the model can take. Received: {batch_size}, for {model.name!r}: "
            f"{in_short(error)} Leave it out, or pass {own_batch_size(model) or 1}."
        ) from error
