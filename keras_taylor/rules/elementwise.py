"""Layers and operations that work on each channel by itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np

from keras_taylor._keras.operations import LayerScale, StochasticDepth, operation, operations
from keras_taylor._keras.program import Call
from keras_taylor.rules._activation import (
    POSITIVE,
    UP_TO_SIX,
    ClipRange,
    activation_range,
    clips_at_zero,
    mixes_channels,
    tf_keras_activation,
)
from keras_taylor.rules._base import Labeller, PassThrough, Trace
from keras_taylor.rules._locks import LockReason
from keras_taylor.rules._nets import between
from keras_taylor.rules._registry import register_rule
from keras_taylor.rules._tf_keras_form import TFKerasForm


@register_rule(keras.layers.ReLU, keras.layers.LeakyReLU, keras.layers.ELU)
class Elementwise(PassThrough):
    """Activation layers without weights, which treat each channel by itself."""

    def piecewise_linear(self, call: Call) -> bool:
        return isinstance(call.operation, (keras.layers.ReLU, keras.layers.LeakyReLU))

    def clip_range(self, operation: Any) -> ClipRange | None:
        return activation_range(operation)

    def tf_keras_form(self, operation: Any) -> Sequence[TFKerasForm]:
        fused = isinstance(operation, keras.layers.ReLU) and clips_at_zero(operation)
        return (TFKerasForm(role="activation" if fused else ""),)

    def examples(self) -> Sequence[Any]:
        return between(keras.layers.ReLU, keras.layers.LeakyReLU, keras.layers.ELU)


_NOISE = {
    "SpatialDropout1D": ("rate",),
    "SpatialDropout2D": ("rate", "data_format"),
    "SpatialDropout3D": ("rate", "data_format"),
    "AlphaDropout": ("rate", "noise_shape"),
    "GaussianDropout": ("rate",),
    "GaussianNoise": ("stddev",),
    "Dropout": ("rate", "noise_shape"),
}
"""Layers that tf_keras has too, with their options; a subclass before its base."""


@register_rule(
    *(getattr(keras.layers, name) for name in _NOISE),
    keras.layers.ActivityRegularization,
    keras.layers.Identity,
    StochasticDepth,
)
class TrainingOnly(PassThrough):
    """Dropout, noise, and what else passes its input on unchanged in inference."""

    identity_in_inference = True
    tf_keras_scale = "input"

    def trace(self, call: Call, labels: Labeller) -> Trace:
        noise, axis = getattr(call.operation, "noise_shape", None), labels[call.inputs[0]].axis
        if noise is not None and axis is not None and noise[axis] not in (None, 1):
            return labels.refuse(call, "has a noise shape that counts the channels", LockReason.CONSTANT)
        return super().trace(call, labels)

    def tf_keras_form(self, operation: Any) -> Sequence[TFKerasForm] | None:
        for kind, options in _NOISE.items():
            if isinstance(operation, getattr(keras.layers, kind)):
                return (TFKerasForm(kind, {name: getattr(operation, name) for name in options}, scale=self.tf_keras_scale),)
        return super().tf_keras_form(operation)

    def examples(self) -> Sequence[Any]:
        return between(lambda: keras.layers.Dropout(0.5), lambda: StochasticDepth(0.1))


@register_rule(keras.layers.Activation)
class Activation(PassThrough):
    """Keeps channels apart; a function that mixes them (softmax), or that is not known (one of yours), locks them."""

    linear_pieces = True

    def clip_range(self, operation: Any) -> ClipRange | None:
        return self.activation_range(operation)

    def trace(self, call: Call, labels: Labeller) -> Trace:
        reason = mixes_channels(call.operation)
        return labels.refuse(call, reason, LockReason.MIXES_CHANNELS) if reason else super().trace(call, labels)

    def tf_keras_form(self, operation: Any) -> Sequence[TFKerasForm]:
        return tf_keras_activation(operation) or (TFKerasForm(scale="input"),)

    def examples(self) -> Sequence[Any]:
        return between(lambda: keras.layers.Activation("sigmoid"), lambda: keras.layers.Activation("softmax"))


@register_rule(keras.layers.Softmax)
class Softmax(PassThrough):
    """Softmax over the channels mixes them; over another axis it does not."""

    def trace(self, call: Call, labels: Labeller) -> Trace:
        given, rank = labels[call.inputs[0]], len(call.inputs[0].shape)
        axis = call.operation.axis
        if given.axis in {a % rank for a in (axis if isinstance(axis, (list, tuple)) else [axis])}:
            return labels.refuse(call, "mixes the channels", LockReason.MIXES_CHANNELS)
        return super().trace(call, labels)

    tf_keras_scale = "fixed"

    def examples(self) -> Sequence[Any]:
        return between(keras.layers.Softmax, lambda: keras.layers.Softmax(axis=[1, 2]))


@register_rule(keras.layers.PReLU)
class PReLU(PassThrough):
    """A learned slope for each channel, each position, or both: `alpha` has the input's shape, with 1 along shared axes."""

    linear_pieces = True

    def weight_axes(self, operation: Any) -> dict[str, str]:
        window = ["." if n == 1 else "spatial" for n in operation.alpha.shape]
        return {"alpha": " ".join([*window[:-1], "." if window[-1] == "." else "out"])}

    def trace(self, call: Call, labels: Labeller) -> Trace:
        given, rank = labels[call.inputs[0]], len(call.inputs[0].shape)
        if given.axis not in (None, rank - 1):
            text = "has one slope per position, and the channels do not run along the last axis"
            return labels.refuse(call, text, LockReason.OTHER_AXIS)
        return super().trace(call, labels)

    def tf_keras_form(self, operation: Any) -> Sequence[TFKerasForm]:
        return (TFKerasForm("PReLU", {"shared_axes": operation.shared_axes}, ("alpha",)),)

    def examples(self) -> Sequence[Any]:
        return between(
            keras.layers.PReLU, lambda: keras.layers.PReLU(shared_axes=[1, 2]), lambda: keras.layers.PReLU(shared_axes=[3])
        )


@register_rule(LayerScale)
class LayerScaleRule(PassThrough):
    """A learned factor for each channel, as ConvNeXt has it."""

    weights = {"gamma": "out"}
    config = {"projection_dim": "out"}
    linear_pieces = True

    def trace(self, call: Call, labels: Labeller) -> Trace:
        if labels[call.inputs[0]].axis != len(call.inputs[0].shape) - 1:
            return labels.refuse(call, "scales another axis than the channels'", LockReason.OTHER_AXIS)
        return super().trace(call, labels)

    def tf_keras_form(self, operation: Any) -> Sequence[TFKerasForm]:
        return (TFKerasForm("Rescaling", {"scale": np.asarray(operation.gamma), "offset": 0.0}),)

    def examples(self) -> Sequence[Any]:
        return between(lambda: LayerScale(0.5, 6))


@register_rule(keras.layers.Rescaling)
class Rescaling(PassThrough):
    """A fixed scale and offset: one number each for all channels, or else these are locked."""

    linear_pieces = True

    def trace(self, call: Call, labels: Labeller) -> Trace:
        if np.size(call.operation.scale) > 1 or np.size(call.operation.offset) > 1:
            return labels.refuse(call, "has a fixed scale for each channel", LockReason.CONSTANT)
        return super().trace(call, labels)

    def tf_keras_form(self, operation: Any) -> Sequence[TFKerasForm]:
        """A factor and a summand: LiteRT rounds after each."""
        parts = [{"scale": operation.scale, "offset": 0.0}]
        if np.any(operation.offset):
            parts.append({"scale": 1.0, "offset": operation.offset})
        return tuple(TFKerasForm("Rescaling", config) for config in parts)

    def examples(self) -> Sequence[Any]:
        return between(lambda: keras.layers.Rescaling(0.5, 0.1), lambda: keras.layers.Rescaling([0.1, 0.2, 0.3, 0.4, 0.5, 0.6]))


@register_rule(
    *operations(
        "Absolute Abs Arctan Cast Ceil Celu Clip Copy Cos Cosh Elu Erf Exp Exp2 Expm1 Floor Gelu HardShrink HardSigmoid "
        "HardSilu HardTanh LeakyRelu Log Log10 Log1p Log2 LogSigmoid Negative Reciprocal Relu Relu6 Round Rsqrt Selu "
        "Sigmoid Sign Silu Sin Sinh SoftShrink Softplus Softsign SparsePlus SparseSigmoid Sqrt Square Squareplus "
        "StopGradient Tan Tanh TanhShrink Threshold Trunc"
    )
)
class UnaryOperation(PassThrough):
    """Functions of one tensor that treat every element alike."""

    def piecewise_linear(self, call: Call) -> bool:
        return isinstance(call.operation, _PIECEWISE_LINEAR)

    def clip_range(self, operation: Any) -> ClipRange | None:
        return _CLIPS.get(type(operation))

    def trace(self, call: Call, labels: Labeller) -> Trace:
        if call.static_arrays() or any(np.size(value) > 1 for value in _options(call.operation)):
            return labels.refuse(call, "has a constant for each channel", LockReason.CONSTANT)
        return super().trace(call, labels)

    def tf_keras_form(self, operation: Any) -> Sequence[TFKerasForm]:
        kind = type(operation).__name__
        role = "activation" if kind in ("Relu", "Relu6") else ""
        fixed, same = kind in ("Sigmoid", "Tanh"), kind in ("StopGradient", "Cast")
        return (TFKerasForm(role=role, scale="fixed" if fixed else "input" if same else "own"),)

    def examples(self) -> Sequence[Any]:
        def net(*functions: Callable[[Any], Any]) -> Any:
            x = inputs = keras.Input((8, 8, 3))
            x = keras.layers.Conv2D(6, 3)(x)
            for function in functions:
                x = function(x)
            return keras.Model(inputs, keras.layers.Conv2D(4, 1)(x))

        return [net(keras.ops.relu, keras.ops.negative, lambda x: keras.ops.clip(x, -1.0, 2.0), keras.ops.gelu)]


def _options(operation: Any) -> list[Any]:
    """What an operation was made with."""
    return [value for name, value in vars(operation).items() if not name.startswith("_")]


_PIECEWISE_LINEAR = tuple(
    operations("Absolute Abs Cast Clip Copy HardShrink HardSigmoid HardTanh LeakyRelu Negative Relu Relu6 SoftShrink Threshold")
)
_CLIPS = {operation("Relu"): POSITIVE, operation("Relu6"): UP_TO_SIX}
