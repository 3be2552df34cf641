"""What a Keras model takes and gives, as flat lists, and what else only its private attributes tell."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import keras

from keras_taylor._keras.program import functional


def feed(model: Any, x: Any) -> list[Any]:
    """The inputs `x` as `predict` takes them (an array, a list, a dict by name), in the order of the model's inputs."""
    return list(functional(model)._standardize_inputs(x))


def pack_inputs(model: Any, flat: Sequence[Any]) -> Any:
    """The inverse of `feed`: one value per input, in the structure that the model was made with."""
    return keras.tree.pack_sequence_as(functional(model)._inputs_struct, list(flat))


def pack_outputs(model: Any, flat: Sequence[Any]) -> Any:
    """One value per output, in the structure that the model returns."""
    return keras.tree.pack_sequence_as(functional(model)._outputs_struct, list(flat))


def model_like(model: Any, inputs: Sequence[Any], outputs: Sequence[Any], name: str) -> Any:
    """A functional model with other tensors in the structures of `model`, and its dtype policy, whatever the global one is."""
    made = keras.Model(pack_inputs(model, inputs), pack_outputs(model, outputs), name=name)
    made.dtype_policy = model.dtype_policy
    return made


def input_layer(symbolic: Any) -> Any:
    """The input layer behind a symbolic input."""
    return symbolic._keras_history.operation


def layers_of(model: Any) -> Iterator[Any]:
    """All layers, at any depth, the model itself included."""
    yield from model._flatten_layers()


def compile_options(model: Any) -> dict[str, Any]:
    """What `compile` was called with."""
    return dict(model._compile_config.config)
