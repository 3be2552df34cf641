"""Layers and operations that work on each channel by itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np

from keras_taylor._keras.operations import LayerScale, StochasticDepth, operations
from keras_taylor._keras.program import Call
from keras_taylor.rules._activation import clips_at_zero, legacy_activation, mixes_channels
from keras_taylor.rules._base import Labeller, PassThrough, Trace, register_rule
from keras_taylor.rules._nets import between
from keras_taylor.rules._tf_keras_form import Legacy

_NOISE = {
    "SpatialDropout1D": ("rate",),
    "SpatialDropout2D": ("rate", "data_format"),
    "SpatialDropout3D": ("rate", "data_format"),
    "AlphaDropout": ("rate", "noise_shape"),
    "GaussianDropout": ("rate",),
    "GaussianNoise": ("stddev",),
    "Dropout": ("rate", "noise_shape"),
}
"""Layers that do something in training only, with the options of their legacy forms; a subclass before its base."""


@register_rule(
    keras.layers.ReLU,
    keras.layers.LeakyReLU,
    keras.layers.ELU,
    keras.layers.Dropout,
    keras.layers.SpatialDropout1D,
    keras.layers.SpatialDropout2D,
    keras.layers.SpatialDropout3D,
    keras.layers.AlphaDropout,
    keras.layers.GaussianDropout,
    keras.layers.GaussianNoise,
    keras.layers.ActivityRegularization,
    keras.layers.Identity,
    StochasticDepth,
)
class Elementwise(PassThrough):
    """No weights, no mixing."""

    def piecewise_linear(self, call: Call) -> bool:
        return not isinstance(call.operation, keras.layers.ELU)

    def trace(self, call: Call, labels: Labeller) -> Trace:
        noise, axis = getattr(call.operation, "noise_shape", None), labels[call.inputs[0]].axis
        if noise is not None and axis is not None and noise[axis] not in (None, 1):
            return labels.refuse(call, "has a noise shape that counts the channels")
        return super().trace(call, labels)

    def legacy(self, operation: Any) -> Sequence[Legacy] | None:
        for kind, options in _NOISE.items():
            if isinstance(operation, getattr(keras.layers, kind)):
                return (Legacy(kind, {name: getattr(operation, name) for name in options}, scale="input"),)
        if isinstance(operation, keras.layers.ReLU) and clips_at_zero(operation):
            return (Legacy(role="activation"),)
        changes = isinstance(operation, (keras.layers.ReLU, keras.layers.LeakyReLU, keras.layers.ELU))
        return (Legacy(scale="own" if changes else "input"),)

    def examples(self) -> Sequence[Any]:
        return between(
            keras.layers.ReLU, keras.layers.LeakyReLU, lambda: keras.layers.Dropout(0.5), lambda: StochasticDepth(0.1)
        )


@register_rule(keras.layers.Activation)
class Activation(PassThrough):
    """An activation passes channels unless it mixes them (softmax), or cannot be known (a function of the user's)."""

    straight = True

    def trace(self, call: Call, labels: Labeller) -> Trace:
        reason = mixes_channels(call.operation)
        return labels.refuse(call, reason) if reason else super().trace(call, labels)

    def legacy(self, operation: Any) -> Sequence[Legacy]:
        return legacy_activation(operation) or (Legacy(scale="input"),)

    def examples(self) -> Sequence[Any]:
        return between(lambda: keras.layers.Activation("sigmoid"), lambda: keras.layers.Activation("softmax"))


@register_rule(keras.layers.Softmax)
class Softmax(PassThrough):
    """Softmax over the channels mixes them; over another axis it does not."""

    def trace(self, call: Call, labels: Labeller) -> Trace:
        given, rank = labels[call.inputs[0]], len(call.inputs[0].shape)
        axis = call.operation.axis
        if given.axis in {a % rank for a in (axis if isinstance(axis, (list, tuple)) else [axis])}:
            return labels.refuse(call, "mixes the channels")
        return super().trace(call, labels)

    legacy_scale = "fixed"

    def examples(self) -> Sequence[Any]:
        return between(keras.layers.Softmax, lambda: keras.layers.Softmax(axis=[1, 2]))


@register_rule(keras.layers.PReLU)
class PReLU(PassThrough):
    """`alpha` has the shape of the input, with 1 along shared axes."""

    straight = True

    def weight_axes(self, operation: Any) -> dict[str, str]:
        window = ["." if n == 1 else "spatial" for n in operation.alpha.shape]
        return {"alpha": " ".join([*window[:-1], "." if window[-1] == "." else "out"])}

    def trace(self, call: Call, labels: Labeller) -> Trace:
        given, rank = labels[call.inputs[0]], len(call.inputs[0].shape)
        if given.axis not in (None, rank - 1):
            return labels.refuse(call, "has one slope per position, and the channels do not run along the last axis")
        return super().trace(call, labels)

    def legacy(self, operation: Any) -> Sequence[Legacy]:
        return (Legacy("PReLU", {"shared_axes": operation.shared_axes}, ("alpha",)),)

    def examples(self) -> Sequence[Any]:
        return between(
            keras.layers.PReLU, lambda: keras.layers.PReLU(shared_axes=[1, 2]), lambda: keras.layers.PReLU(shared_axes=[3])
        )


@register_rule(LayerScale)
class LayerScaleRule(PassThrough):
    """ConvNeXt's learned factor per channel."""

    weights = {"gamma": "out"}
    config = {"projection_dim": "out"}
    straight = True

    def trace(self, call: Call, labels: Labeller) -> Trace:
        if labels[call.inputs[0]].axis != len(call.inputs[0].shape) - 1:
            return labels.refuse(call, "scales another axis than the channels'")
        return super().trace(call, labels)

    def legacy(self, operation: Any) -> Sequence[Legacy]:
        return (Legacy("Rescaling", {"scale": np.asarray(operation.gamma), "offset": 0.0}),)

    def examples(self) -> Sequence[Any]:
        return between(lambda: LayerScale(0.5, 6))


@register_rule(keras.layers.Rescaling)
class Rescaling(PassThrough):
    """A fixed scale and offset; one number each, or else the channels are locked."""

    straight = True

    def trace(self, call: Call, labels: Labeller) -> Trace:
        if np.size(call.operation.scale) > 1 or np.size(call.operation.offset) > 1:
            return labels.refuse(call, "has a fixed scale for each channel")
        return super().trace(call, labels)

    def legacy(self, operation: Any) -> Sequence[Legacy]:
        """A factor and a summand, each rounded by itself."""
        parts = [{"scale": operation.scale, "offset": 0.0}]
        if np.any(operation.offset):
            parts.append({"scale": 1.0, "offset": operation.offset})
        return tuple(Legacy("Rescaling", config) for config in parts)

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
    """`keras.ops` functions of one tensor."""

    def piecewise_linear(self, call: Call) -> bool:
        return isinstance(call.operation, _STRAIGHT)

    def trace(self, call: Call, labels: Labeller) -> Trace:
        if call.static_arrays() or any(np.size(value) > 1 for value in _options(call.operation)):
            return labels.refuse(call, "has a constant for each channel")
        return super().trace(call, labels)

    def legacy(self, operation: Any) -> Sequence[Legacy]:
        kind = type(operation).__name__
        role = "activation" if kind in ("Relu", "Relu6") else ""
        fixed, same = kind in ("Sigmoid", "Tanh"), kind in ("StopGradient", "Cast")
        return (Legacy(role=role, scale="fixed" if fixed else "input" if same else "own"),)

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


_STRAIGHT = tuple(
    operations("Absolute Abs Cast Clip Copy HardShrink HardSigmoid HardTanh LeakyRelu Negative Relu Relu6 SoftShrink Threshold")
)
