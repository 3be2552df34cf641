"""Make a layer again from its config, to see whether that works: nothing is allocated, and nothing else notices."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any

import keras
from keras.src.backend.common.global_state import get_global_attribute, set_global_attribute

from keras_taylor._keras.members import matched, retie, variable_paths
from keras_taylor._keras.model import layers_of
from keras_taylor._keras.program import Call
from keras_taylor.errors import in_short

_WAITING = "uninitialized_variables"
_OPTIONS = ("activation", "_initializer", "_regularizer", "_constraint")


def is_of_keras(operation: Any) -> bool:
    """Whether the class of an operation, and those of all layers in it, come with Keras."""
    layers = layers_of(operation) if isinstance(operation, keras.layers.Layer) else [operation]
    return all(type(layer).__module__.partition(".")[0] == "keras" for layer in layers)


def is_plain(operation: Any) -> bool:
    """Whether an operation is Keras' own, and so are the functions and options that it was made with."""
    options = [value for name, value in vars(operation).items() if name.endswith(_OPTIONS) and value is not None]
    homes = (getattr(value, "__module__", None) or type(value).__module__ for value in options)
    return is_of_keras(operation) and all(home.partition(".")[0] == "keras" for home in homes)


def from_own_config(operation: Any, changes: Mapping[str, Any] | None = None) -> Any:
    """A new operation with the config of `operation`, and the entries of `changes` in it.

    Functions and options that Keras can name but not find again (they are not registered) are handed over themselves.
    """
    config = {**operation.get_config(), **(changes or {})}
    try:
        return type(operation).from_config(dict(config))
    except Exception:
        given = {name: getattr(operation, name, None) for name in config.keys() - (changes or {}).keys()}
        alive = {name: value for name, value in given.items() if name.endswith(_OPTIONS) and callable(value)}
        if not alive:
            raise
        return type(operation).from_config({**config, **alive})


@contextmanager
def _unnoticed(empty: bool) -> Iterator[None]:
    """Layers that are built inside draw no random numbers, and, if `empty`, get no memory for their weights."""
    state, waiting = random.getstate(), list(get_global_attribute(_WAITING, []) or [])
    try:
        with keras.StatelessScope(initialize_variables=False) if empty else nullcontext():
            yield
    finally:
        random.setstate(state)
        set_global_attribute(_WAITING, waiting)


def why_not_made_again(call: Call, twins: Mapping[int, Any], changes: Mapping[str, Any], build: bool) -> str:
    """Why the operation of a call cannot be made again from its config; an empty string if it can.

    Args:
        call: symbolic inputs of its shapes build the copy.
        twins: what the copy has to use in the place of variables and layers of the original, by id.
        changes: entries of the config that must come out as they go in.
        build: whether the copy is called and its weights are compared with the original's, too.
    """
    try:
        try:
            return _problem(call, twins, changes, build, empty=True)
        except ValueError as error:
            if "stateless scope" not in str(error):
                raise
            return _problem(call, twins, changes, build, empty=False)  # a variable that holds a value from the start
    except Exception as error:  # whatever the user's own class raises
        return f"cannot be made again from its config: {in_short(error)}"


def _problem(call: Call, twins: Mapping[int, Any], changes: Mapping[str, Any], build: bool, empty: bool) -> str:
    with _unnoticed(empty):
        copy = from_own_config(call.operation)
        found = (_built(call, copy, twins) or _changed(call.operation, changes)) if build else ""
        return found or _otherwise(call.operation, copy)


def _built(call: Call, copy: Any, twins: Mapping[int, Any]) -> str:
    operation = call.operation
    retie(operation, copy, twins)
    args, kwargs = call.fill({tensor.index: _symbolic(tensor) for tensor in call.inputs})
    copy(*args, **kwargs)
    tied, pairs = retie(operation, copy, twins), matched(operation, copy)
    if {path for key, path in variable_paths(operation).items() if key in twins} - {*variable_paths(copy).values()}:
        return "loses the weights that it shares when it is made again from its config"
    if pairs is None:
        return "comes with other weights when it is made again from its config"
    wrong = next((old for old, new in pairs if tuple(old.shape) != tuple(new.shape)), None)
    if wrong is not None:
        return f"has {wrong.name} of another shape when it is made again from its config"
    return "" if tied else "shares weights in a place where a copy cannot share them"


def _otherwise(operation: Any, copy: Any) -> str:
    """Whether the copy's config says something else, as far as values can be compared: training would be another one."""
    there, here = ({name: _comparable(value) for name, value in one.get_config().items()} for one in (operation, copy))
    other = next((name for name, value in there.items() if name in here and here[name] != value), "")
    return f"comes with another {other} when it is made again from its config" if other else ""


def _comparable(value: Any) -> str:
    return json.dumps(value, default=lambda one: type(one).__name__, skipkeys=True)


def _changed(operation: Any, changes: Mapping[str, Any]) -> str:
    config = from_own_config(operation, changes).get_config() if changes else {}
    ignored = next((entry for entry, value in changes.items() if config.get(entry) != value), None)
    return f"ignores {ignored} of its config" if ignored else ""


def _symbolic(tensor: Any) -> Any:
    return keras.Input(batch_shape=tensor.shape, dtype=tensor.dtype, name="trial")
