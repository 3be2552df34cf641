"""What a model's outputs are (softmax, logits, sigmoid, ...), and their logits."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf


class Logits:
    """The outputs of a batch side by side, softmax and sigmoid outputs as logits; and the way back.

    Args:
        outputs: one tensor per output of the model, shape `(batch, ...)`.
        kinds: of the outputs, as `output_kinds` tells.

    Attributes:
        values: shape `(batch, D)`.
    """

    def __init__(self, outputs: Sequence[Any], kinds: Sequence[str]) -> None:
        self._kinds = tuple(kinds)
        self._shapes = [tuple(output.shape[1:]) for output in outputs]
        self._sizes = [math.prod(shape) for shape in self._shapes]
        parts = [TO_LOGITS.get(kind, _same)(tf.cast(x, tf.float32)) for x, kind in zip(outputs, kinds, strict=True)]
        self.values = tf.concat([tf.reshape(part, (-1, size)) for part, size in zip(parts, self._sizes, strict=True)], 1)

    def to_outputs(self, values: Any) -> list[Any]:
        """The model's outputs for logits of shape `(rows, D)`, laid out as `values` are."""
        parts = tf.split(values, self._sizes, axis=1)
        shaped = [tf.reshape(part, (-1, *shape)) for part, shape in zip(parts, self._shapes, strict=True)]
        return [_TO_OUTPUTS.get(kind, _same)(part) for part, kind in zip(shaped, self._kinds, strict=True)]


def _log(x: Any) -> Any:
    return tf.math.log(tf.maximum(x, 1e-37))


def _same(x: Any) -> Any:
    return x


def _logit(x: Any) -> Any:
    return _log(x) - _log(1 - x)


TO_LOGITS: dict[str, Callable[[Any], Any]] = {"softmax": _log, "sigmoid": _logit}
"""How outputs of these kinds become logits; others are taken as they are."""

_TO_OUTPUTS: dict[str, Callable[[Any], Any]] = {"softmax": tf.nn.softmax, "sigmoid": tf.sigmoid}


LIKELIHOODS = frozenset({"softmax", "logits", "sigmoid", "binary logits"})
"""Kinds of outputs that are probabilities."""


def output_kinds(model: Any, loss: Any = None) -> list[str]:
    """The kind of each output: softmax, logits, sigmoid, binary logits or gaussian."""
    given = loss if loss is not None else getattr(model, "loss", None)
    if isinstance(given, dict):
        losses = [given.get(name) for name in model.output_names]
    else:
        losses = keras.tree.flatten(given) if given is not None else []
    kinds = []
    for number, output in enumerate(model.outputs):
        source = _source(output)
        activation = getattr(source, "activation", None)
        name = getattr(activation, "__name__", "")
        mine = losses[number] if len(losses) == len(model.outputs) else (losses[0] if len(losses) == 1 else None)
        from_logits = isinstance(mine, keras.losses.Loss) and bool(mine.get_config().get("from_logits", False))
        if name in ("softmax", "sigmoid"):
            kinds.append(name)
        elif type(source).__name__ in ("Softmax", "Sigmoid"):
            kinds.append(type(source).__name__.lower())
        elif from_logits:
            kinds.append("binary logits" if "binary" in type(mine).__name__.lower() else "logits")
        else:
            kinds.append("gaussian")
    return kinds


def _source(output: Any) -> Any:
    """The operation that makes an output, inside a nested model if it is one."""
    history = output._keras_history
    while isinstance(history.operation, keras.Model):
        history = history.operation.outputs[history.tensor_index]._keras_history
    return history.operation
