"""Pooling, padding, cropping and resizing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

from keras_taylor._keras.program import Call
from keras_taylor.rules._base import Labeller, Labels, LayerRule, PassThrough, Trace
from keras_taylor.rules._locks import LockReason
from keras_taylor.rules._nets import between
from keras_taylor.rules._registry import register_rule
from keras_taylor.rules._tf_keras_form import TFKerasForm


@register_rule(
    *(
        getattr(keras.layers, f"{kind}{rank}D")
        for kind in ("MaxPooling", "AveragePooling", "ZeroPadding", "Cropping", "UpSampling")
        for rank in (1, 2, 3)
    ),
    keras.layers.Resizing,
)
class SpatialWindow(PassThrough):
    """Pooling, padding, cropping and resizing: the channels must run along the channel axis."""

    linear_pieces = True
    tf_keras_scale = "input"

    def trace(self, call: Call, labels: Labeller) -> Trace:
        given, rank = labels[call.inputs[0]], len(call.inputs[0].shape)
        if rank > 2:
            axis = 1 if getattr(call.operation, "data_format", None) == "channels_first" else rank - 1
            if given.axis not in (None, axis):
                return labels.refuse(call, "works on the axis that the channels run along", LockReason.OTHER_AXIS)
        return super().trace(call, labels)

    def examples(self) -> Sequence[Any]:
        return between(
            keras.layers.MaxPooling2D,
            lambda: keras.layers.AveragePooling2D(2),
            keras.layers.ZeroPadding2D,
            keras.layers.Cropping2D,
            keras.layers.UpSampling2D,
        )


@register_rule(*(getattr(keras.layers, f"Global{kind}Pooling{rank}D") for kind in ("Max", "Average") for rank in (1, 2, 3)))
class GlobalPooling(LayerRule):
    """Pools over all positions: the spatial axes go, or stay with length one."""

    linear_pieces = True

    def trace(self, call: Call, labels: Labeller) -> Trace:
        given, rank = labels[call.inputs[0]], len(call.inputs[0].shape)
        first = call.operation.data_format == "channels_first"
        if given.axis != (1 if first else rank - 1):
            return labels.refuse(call, "pools over the axis that the channels run along", LockReason.MIXES_CHANNELS)
        axis = given.axis if call.operation.keepdims or first else 1
        return Trace((Labels(axis, given.ids),), {"out": given.ids})

    def tf_keras_form(self, operation: Any) -> Sequence[TFKerasForm]:
        return (TFKerasForm(scale="input" if "Max" in type(operation).__name__ else "own"),)

    def examples(self) -> Sequence[Any]:
        return [
            keras.Sequential(
                [
                    keras.Input((8, 8, 3)),
                    keras.layers.Conv2D(6, 3, activation="relu"),
                    keras.layers.GlobalAveragePooling2D(keepdims=keepdims),
                    keras.layers.Dense(4),
                ]
            )
            for keepdims in (False, True)
        ]
