"""Which operations have a rule, read from the registry."""

from __future__ import annotations

import re
from dataclasses import dataclass

import keras

from keras_taylor.rules._base import LayerRule
from keras_taylor.rules._registry import registered


@dataclass(frozen=True)
class Supported:
    """The operations that one rule serves.

    Attributes:
        rule: name of the rule's class.
        summary: the first line of its docstring.
        operations: `"Conv2D"` for `keras.layers.Conv2D`, and `"ops.relu"` for `keras.ops.relu`.
    """

    rule: str
    summary: str
    operations: tuple[str, ...]


def supported() -> tuple[Supported, ...]:
    """What every registered rule serves, sorted by the name of the rule; yours are among them.

    Example:
        >>> import keras_taylor as kt
        >>> next(one.operations for one in kt.rules.supported() if one.rule == "Concatenate")
        ('Concatenate', 'ops.concatenate')
    """
    served: dict[LayerRule, list[str]] = {}
    for operation, rule in registered().items():
        served.setdefault(rule, []).append(_name(operation))
    found = [
        Supported(type(rule).__name__, (type(rule).__doc__ or "").partition("\n")[0], tuple(sorted(set(names))))
        for rule, names in served.items()
    ]
    return tuple(sorted(found, key=lambda one: one.rule))


def _name(operation: type) -> str:
    """The name under which Keras has an operation; classes behind `keras.ops` go by the function."""
    name = operation.__name__
    function = re.sub("(?<=[a-z])(?=[A-Z])", "_", name).lower()
    return f"ops.{function}" if not issubclass(operation, keras.layers.Layer) and hasattr(keras.ops, function) else name
