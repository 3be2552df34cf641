"""Normalisation layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

from keras_taylor._keras.program import Call
from keras_taylor.rules._base import BatchStatistics, Labeller, LayerRule, PassThrough, Trace
from keras_taylor.rules._locks import LockReason
from keras_taylor.rules._registry import register_rule
from keras_taylor.rules._tf_keras_form import TFKerasForm


def _axes(axis: Any, rank: int) -> set[int]:
    return {a % rank for a in (axis if isinstance(axis, (list, tuple)) else [axis])}


@register_rule(keras.layers.BatchNormalization)
class BatchNormalization(PassThrough):
    """Normalises each channel by itself, with up to four weights along the channels."""

    weights = {"gamma": "out", "beta": "out", "moving_mean": "out", "moving_variance": "out"}
    scale = "gamma"

    def piecewise_linear(self, call: Call) -> bool:
        return not call.kwargs.get("training")  # with the statistics of the batch it is not

    def batch_statistics(self, operation: Any) -> BatchStatistics:
        variables = (operation.moving_mean, operation.moving_variance, operation.epsilon, operation.gamma, operation.beta)
        return BatchStatistics(*variables, operation.axis)

    def trace(self, call: Call, labels: Labeller) -> Trace:
        given, shape = labels[call.inputs[0]], call.inputs[0].shape
        if _axes(call.operation.axis, len(shape)) != {given.axis}:
            return labels.refuse(call, "normalises over another axis than the channels'", LockReason.OTHER_AXIS)
        return super().trace(call, labels)

    def tf_keras_form(self, operation: Any) -> Sequence[TFKerasForm]:
        config = {name: getattr(operation, name) for name in ("axis", "momentum", "epsilon", "center", "scale")}
        return (TFKerasForm("BatchNormalization", config, tuple(self.weight_axes(operation)), role="norm"),)

    def examples(self) -> Sequence[Any]:
        return [
            keras.Sequential(
                [
                    keras.Input((6, 6, 3)),
                    keras.layers.Conv2D(6, 3),
                    keras.layers.BatchNormalization(),
                    keras.layers.Conv2D(4, 1),
                ]
            ),
            keras.Sequential(
                [keras.Input((5,)), keras.layers.Dense(6), keras.layers.BatchNormalization(scale=False), keras.layers.Dense(3)]
            ),
        ]


@register_rule(keras.layers.LayerNormalization)
class LayerNormalization(PassThrough):
    """Over the channels it mixes them, which locks them; over other axes it passes them on."""

    def weight_axes(self, operation: Any) -> Mapping[str, str]:
        return {name: "" for name in ("gamma", "beta") if getattr(operation, name, None) is not None}

    def trace(self, call: Call, labels: Labeller) -> Trace:
        given, shape = labels[call.inputs[0]], call.inputs[0].shape
        if given.axis in _axes(call.operation.axis, len(shape)):
            return labels.refuse(call, "normalises over the channels", LockReason.MIXES_CHANNELS)
        return super().trace(call, labels)

    def tf_keras_form(self, operation: Any) -> Sequence[TFKerasForm] | None:
        if getattr(operation, "rms_scaling", False):
            return None
        config = {name: getattr(operation, name) for name in ("axis", "epsilon", "center", "scale")}
        return (TFKerasForm("LayerNormalization", config, tuple(self.weight_axes(operation))),)

    def examples(self) -> Sequence[Any]:
        return [
            keras.Sequential(
                [
                    keras.Input((4, 4, 3)),
                    keras.layers.Conv2D(6, 3),
                    keras.layers.LayerNormalization(axis=[1, 2]),
                    keras.layers.Conv2D(4, 1),
                ]
            ),
            keras.Sequential(
                [
                    keras.Input((5,)),
                    keras.layers.Dense(6),
                    keras.layers.LayerNormalization(),
                    keras.layers.Dense(4),
                    keras.layers.Dense(3),
                ]
            ),
        ]


@register_rule(keras.layers.Normalization)
class Normalization(LayerRule):
    """Adapted statistics for each feature: it locks them, as the model's inputs, on which it stands, are locked anyway."""

    linear_pieces = True

    def weight_axes(self, operation: Any) -> Mapping[str, str]:
        names = ("adapt_mean", "adapt_variance", "count")
        return {name: "" for name in names if getattr(operation, name, None) is not None}

    def trace(self, call: Call, labels: Labeller) -> Trace:
        return labels.refuse(call, "has fixed statistics for its channels", LockReason.CONSTANT)

    def tf_keras_form(self, operation: Any) -> Sequence[TFKerasForm] | None:
        """A factor and a summand: LiteRT rounds after each."""
        if operation.invert:
            return None
        factor = 1.0 / np.maximum(np.sqrt(operation.variance), keras.config.epsilon())
        offset = -np.asarray(operation.mean) * factor
        return tuple(TFKerasForm("Rescaling", {"scale": s, "offset": o}) for s, o in ((factor, 0.0), (1.0, offset)))

    def examples(self) -> Sequence[Any]:
        return [
            keras.Sequential(
                [
                    keras.Input((6, 6, 3)),
                    keras.layers.Normalization(mean=[0.1, 0.2, 0.3], variance=[1.0, 2.0, 3.0]),
                    keras.layers.Conv2D(6, 3),
                    keras.layers.Conv2D(4, 1),
                ]
            )
        ]
