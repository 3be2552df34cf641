"""Normalisation layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

from keras_taylor._keras.program import Call
from keras_taylor.rules._base import Labeller, LayerRule, PassThrough, Trace, register_rule
from keras_taylor.rules._tf_keras_form import Legacy


def _axes(axis: Any, rank: int) -> set[int]:
    return {a % rank for a in (axis if isinstance(axis, (list, tuple)) else [axis])}


@register_rule(keras.layers.BatchNormalization)
class BatchNormalization(PassThrough):
    """Batch statistics are one per channel: four weights along the channels."""

    weights = {"gamma": "out", "beta": "out", "moving_mean": "out", "moving_variance": "out"}
    scale = "gamma"

    def piecewise_linear(self, call: Call) -> bool:
        return not call.kwargs.get("training")  # with the statistics of the batch it is not

    def trace(self, call: Call, labels: Labeller) -> Trace:
        given, shape = labels[call.inputs[0]], call.inputs[0].shape
        if _axes(call.operation.axis, len(shape)) != {given.axis}:
            return labels.refuse(call, "normalises over another axis than the channels'")
        return super().trace(call, labels)

    def legacy(self, operation: Any) -> Sequence[Legacy]:
        config = {name: getattr(operation, name) for name in ("axis", "momentum", "epsilon", "center", "scale")}
        return (Legacy("BatchNormalization", config, tuple(self.weight_axes(operation)), role="norm"),)

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
    """Layer normalisation mixes what it averages over: over the channels it locks them, over other axes it passes them."""

    def weight_axes(self, operation: Any) -> Mapping[str, str]:
        return {name: "" for name in ("gamma", "beta") if getattr(operation, name, None) is not None}

    def trace(self, call: Call, labels: Labeller) -> Trace:
        given, shape = labels[call.inputs[0]], call.inputs[0].shape
        if given.axis in _axes(call.operation.axis, len(shape)):
            return labels.refuse(call, "normalises over the channels")
        return super().trace(call, labels)

    def legacy(self, operation: Any) -> Sequence[Legacy] | None:
        if getattr(operation, "rms_scaling", False):
            return None
        config = {name: getattr(operation, name) for name in ("axis", "epsilon", "center", "scale")}
        return (Legacy("LayerNormalization", config, tuple(self.weight_axes(operation))),)

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
    """Feature-wise normalisation with adapted statistics; it stands on a model's input, so its channels are locked anyway."""

    straight = True

    def weight_axes(self, operation: Any) -> Mapping[str, str]:
        names = ("adapt_mean", "adapt_variance", "count")
        return {name: "" for name in names if getattr(operation, name, None) is not None}

    def trace(self, call: Call, labels: Labeller) -> Trace:
        return labels.refuse(call, "has fixed statistics for its channels")

    def legacy(self, operation: Any) -> Sequence[Legacy] | None:
        """A factor and a summand, each rounded by itself."""
        if operation.invert:
            return None
        factor = 1.0 / np.maximum(np.sqrt(operation.variance), keras.config.epsilon())
        offset = -np.asarray(operation.mean) * factor
        return tuple(Legacy("Rescaling", {"scale": s, "offset": o}) for s, o in ((factor, 0.0), (1.0, offset)))

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
