"""Dense layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

from keras_taylor._keras.program import Call
from keras_taylor.rules._activation import mixes_channels, tf_keras_activation
from keras_taylor.rules._base import Labeller, Labels, LayerRule, Linear, Trace
from keras_taylor.rules._locks import LockReason
from keras_taylor.rules._registry import register_rule
from keras_taylor.rules._tf_keras_form import TFKerasForm


@register_rule(keras.layers.Dense)
class Dense(LayerRule):
    """Contracts over the last axis, at every position of the others."""

    weights = {"kernel": "in out", "bias": "out"}
    kernels = ("kernel",)
    config = {"units": "out"}
    linear_pieces = True

    def trace(self, call: Call, labels: Labeller) -> Trace:
        given, last = labels[call.inputs[0]], len(call.inputs[0].shape) - 1
        if given.axis != last:
            return labels.refuse(call, "reads channels that do not run along its last axis", LockReason.OTHER_AXIS)
        out = labels.mint(call, call.operation.units)
        reason = mixes_channels(call.operation)
        if reason:
            labels.lock(out, reason, LockReason.MIXES_CHANNELS, call)
        return Trace((Labels(last, out),), {"in": given.ids, "out": out}, consumes=True)

    def linear(self, operation: Any) -> Linear:
        return Linear("kernel", 1, None, lambda kernel: kernel[None], lambda _, matrix: matrix[0])

    def tf_keras_form(self, operation: Any) -> Sequence[TFKerasForm]:
        config = {"units": operation.units, "use_bias": operation.use_bias}
        weights = ("kernel", "bias") if operation.use_bias else ("kernel",)
        return (TFKerasForm("Dense", config, weights, role="kernel", kernel="kernel"), *tf_keras_activation(operation))

    def examples(self) -> Sequence[Any]:
        dense = keras.layers.Dense
        return [
            keras.Sequential([keras.Input((5,)), dense(6, activation="relu"), dense(3)]),
            keras.Sequential([keras.Input((4, 5)), dense(6, activation="gelu", use_bias=False), dense(3)]),
        ]
