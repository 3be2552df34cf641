"""What a Keras model takes and gives, as flat lists, and what else only its private attributes tell."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import keras

from keras_taylor._keras.forms import kind_of
from keras_taylor._keras.program import functional
from keras_taylor._keras.trial import in_short
from keras_taylor.errors import BadInput, listed, shown


def feed(model: Any, x: Any) -> list[Any]:
    """The inputs `x` as `predict` takes them (an array, a list, a dict by name), in the order of the model's inputs."""
    source = functional(model)
    named = {one.name for one in source.inputs}
    if isinstance(x, Mapping) and not isinstance(source._inputs_struct, Mapping) and named <= x.keys():
        x = pack_inputs(source, [x[one.name] for one in source.inputs])  # Keras would warn of the structure
    try:
        return list(source._standardize_inputs(x))
    except Exception as error:  # Keras prints the data
        names = listed((repr(one.name) for one in source.inputs), what="more inputs")
        raise BadInput(
            f"data must have what the inputs {names} of {model.name!r} take. Received: {kind_of(x)}, where shapes are "
            f"{shown(str([tuple(one.shape) for one in source.inputs]))}: {in_short(error)}"
        ) from None


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
