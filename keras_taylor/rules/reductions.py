"""`keras.ops` that reduce over axes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from keras_taylor._keras.operations import operations
from keras_taylor._keras.program import Call
from keras_taylor.rules._base import Labeller, Labels, LayerRule, Trace
from keras_taylor.rules._locks import LockReason
from keras_taylor.rules._registry import register_rule


@register_rule(*operations("Mean Sum Max Min Amax Amin"))
class Reduction(LayerRule):
    """Sums, means and extremes over other axes than that of the channels; over the channels they lock them."""

    linear_pieces = True

    def trace(self, call: Call, labels: Labeller) -> Trace:
        given, tensor = labels[call.inputs[0]], call.inputs[0]
        rank, axis = len(tensor.shape), call.operation.axis
        gone = set(range(rank)) if axis is None else {a % rank for a in np.atleast_1d(axis).tolist()}
        if given.axis is None or given.axis in gone or 0 in gone or len(call.inputs) > 1:
            return labels.refuse(call, "reduces over the channels or the batch", LockReason.MIXES_CHANNELS)
        lost = 0 if call.operation.keepdims else sum(a < given.axis for a in gone)
        return Trace((Labels(given.axis - lost, given.ids),), {"out": given.ids})

    def examples(self) -> Sequence[Any]:
        x = inputs = keras.Input((8, 8, 3))
        x = keras.layers.Conv2D(6, 3, activation="relu")(x)
        x = keras.ops.max(keras.ops.mean(x, axis=1, keepdims=True), axis=(1, 2))
        return [keras.Model(inputs, keras.layers.Dense(4)(x))]
