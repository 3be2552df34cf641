"""What a Keras model takes and gives, as flat lists, and what else only its private attributes tell."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import keras

from keras_taylor._keras.forms import kind_of
from keras_taylor._keras.program import functional
from keras_taylor.errors import BadInput, in_short, listed


def feed(model: Any, x: Any) -> list[Any]:
    """The inputs `x` as `predict` takes them (an array, a list, a dict by name), in the order of the model's inputs.

    Raises:
        BadInput: they are others than the model takes.
    """
    source = functional(model)
    wanted = [tuple(tensor.shape) for tensor in source.inputs]
    named = {one.name for one in source.inputs}
    if isinstance(x, Mapping) and not isinstance(source._inputs_struct, Mapping) and named <= x.keys():
        x = pack_inputs(source, [x[one.name] for one in source.inputs])  # Keras would warn of the structure
    shapes = [tuple(part.shape) if hasattr(part, "shape") else kind_of(part) for part in keras.tree.flatten(x)]
    try:
        found = list(source._standardize_inputs(x))
    except Exception as error:  # Keras prints the data
        if isinstance(x, Mapping) or len(shapes) != len(wanted):
            names = listed((repr(one.name) for one in source.inputs), what="more inputs")
            raise BadInput(
                f"Inputs must be what {names} of {model.name!r} take. Received: {kind_of(x)}, expected shapes {wanted}: "
                f"{in_short(error)}"
            ) from None
        found = []
    if len(found) != len(wanted) or not all(map(_fits, found, wanted)):
        raise BadInput(f"Inputs must have the model's input shapes. Received: {shapes}, expected {wanted}.")
    return found


def _fits(array: Any, wanted: tuple[int | None, ...]) -> bool:
    """Whether an input has a shape but for the batch; what is unknown fits."""
    if array is None or getattr(array.shape, "rank", 0) is None:
        return True
    pairs = zip(array.shape[1:], wanted[1:], strict=False)
    return len(array.shape) == len(wanted) and all(None in (one, other) or one == other for one, other in pairs)


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


def trains_on_labels(model: Any) -> bool:
    """Whether a model is compiled with a loss that compares outputs with labels; what layers add needs none."""
    return bool(model.compiled) and compile_options(model)["loss"] is not None
