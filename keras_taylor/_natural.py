"""Natural outputs: the logits of softmax and sigmoid outputs, the outputs themselves otherwise."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import tensorflow as tf


class NaturalOutputs:
    """Turns a model's outputs into natural ones, side by side, and back.

    Args:
        kinds: of the outputs: softmax, sigmoid, or something else.
    """

    def __init__(self, kinds: list[str]) -> None:
        self.kinds = kinds
        self._shapes: list[tuple[int, ...]] = []

    def of(self, outputs: list[Any]) -> Any:
        """Natural outputs, shape `(batch, D)`."""
        self._shapes = [tuple(output.shape[1:]) for output in outputs]
        parts = [NATURAL.get(kind, _same)(tf.cast(x, tf.float32)) for x, kind in zip(outputs, self.kinds, strict=True)]
        sizes = [math.prod(shape) for shape in self._shapes]
        return tf.concat([tf.reshape(part, (-1, size)) for part, size in zip(parts, sizes, strict=True)], 1)

    def put_out(self, natural: Any) -> list[Any]:
        """The model's outputs; call `of` before."""
        parts = tf.split(natural, [math.prod(shape) for shape in self._shapes], axis=1)
        shaped = [tf.reshape(part, (-1, *shape)) for part, shape in zip(parts, self._shapes, strict=True)]
        return [_PUT_OUT.get(kind, _same)(part) for part, kind in zip(shaped, self.kinds, strict=True)]


def _log(x: Any) -> Any:
    return tf.math.log(tf.maximum(x, 1e-37))


def _same(x: Any) -> Any:
    return x


def _logit(x: Any) -> Any:
    return _log(x) - _log(1 - x)


NATURAL: dict[str, Callable[[Any], Any]] = {"softmax": _log, "sigmoid": _logit}
_PUT_OUT: dict[str, Callable[[Any], Any]] = {"softmax": tf.nn.softmax, "sigmoid": tf.sigmoid}
