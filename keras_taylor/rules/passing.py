"""Operations through which every channel passes by itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
from keras.src import ops as kops
from keras.src.applications.convnext import LayerScale, StochasticDepth

from keras_taylor._flatten import Call
from keras_taylor.rules._activation import clips_at_zero, legacy_activation, mixes_channels
from keras_taylor.rules._base import Labeller, Labels, LayerRule, PassThrough, Trace, register_rule
from keras_taylor.rules._legacy import Legacy

layers = keras.layers


def _between(*make: Callable[[], Any]) -> list[Any]:
    """One tiny net per layer, with the layer between two convolutions."""
    return [keras.Sequential([keras.Input((8, 8, 3)), layers.Conv2D(6, 3), one(), layers.Conv2D(4, 1)]) for one in make]


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
    layers.ReLU,
    layers.LeakyReLU,
    layers.ELU,
    layers.Dropout,
    layers.SpatialDropout1D,
    layers.SpatialDropout2D,
    layers.SpatialDropout3D,
    layers.AlphaDropout,
    layers.GaussianDropout,
    layers.GaussianNoise,
    layers.ActivityRegularization,
    layers.Identity,
    StochasticDepth,
)
class Elementwise(PassThrough):
    """No weights, no mixing."""

    def piecewise_linear(self, call: Call) -> bool:
        return not isinstance(call.operation, layers.ELU)

    def trace(self, call: Call, labels: Labeller) -> Trace:
        noise, axis = getattr(call.operation, "noise_shape", None), labels[call.inputs[0]].axis
        if noise is not None and axis is not None and noise[axis] not in (None, 1):
            return labels.refuse(call, "has a noise shape that counts the channels")
        return super().trace(call, labels)

    def legacy(self, operation: Any) -> Sequence[Legacy] | None:
        for kind, options in _NOISE.items():
            if isinstance(operation, getattr(layers, kind)):
                return (Legacy(kind, {name: getattr(operation, name) for name in options}, scale="input"),)
        if isinstance(operation, layers.ReLU) and clips_at_zero(operation):
            return (Legacy(role="activation"),)
        changes = isinstance(operation, (layers.ReLU, layers.LeakyReLU, layers.ELU))
        return (Legacy(scale="own" if changes else "input"),)

    def examples(self) -> Sequence[Any]:
        return _between(layers.ReLU, layers.LeakyReLU, lambda: layers.Dropout(0.5), lambda: StochasticDepth(0.1))


@register_rule(layers.Activation)
class Activation(PassThrough):
    """An activation passes channels unless it mixes them (softmax), or cannot be known (a function of the user's)."""

    straight = True

    def trace(self, call: Call, labels: Labeller) -> Trace:
        reason = mixes_channels(call.operation)
        return labels.refuse(call, reason) if reason else super().trace(call, labels)

    def legacy(self, operation: Any) -> Sequence[Legacy]:
        return legacy_activation(operation) or (Legacy(scale="input"),)

    def examples(self) -> Sequence[Any]:
        return _between(lambda: layers.Activation("sigmoid"), lambda: layers.Activation("softmax"))


@register_rule(layers.Softmax)
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
        return _between(layers.Softmax, lambda: layers.Softmax(axis=[1, 2]))


@register_rule(layers.PReLU)
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
        return _between(layers.PReLU, lambda: layers.PReLU(shared_axes=[1, 2]), lambda: layers.PReLU(shared_axes=[3]))


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
        return _between(lambda: LayerScale(0.5, 6))


@register_rule(layers.Rescaling)
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
        return _between(lambda: layers.Rescaling(0.5, 0.1), lambda: layers.Rescaling([0.1, 0.2, 0.3, 0.4, 0.5, 0.6]))


@register_rule(
    *(
        getattr(layers, f"{kind}{rank}D")
        for kind in ("MaxPooling", "AveragePooling", "ZeroPadding", "Cropping", "UpSampling")
        for rank in (1, 2, 3)
    ),
    layers.Resizing,
)
class SpatialWindow(PassThrough):
    """Pooling, padding, cropping and resizing: the channels must run along the channel axis."""

    straight = True
    legacy_scale = "input"

    def trace(self, call: Call, labels: Labeller) -> Trace:
        given, rank = labels[call.inputs[0]], len(call.inputs[0].shape)
        if rank > 2:
            axis = 1 if getattr(call.operation, "data_format", None) == "channels_first" else rank - 1
            if given.axis not in (None, axis):
                return labels.refuse(call, "works on the axis that the channels run along")
        return super().trace(call, labels)

    def examples(self) -> Sequence[Any]:
        return _between(
            layers.MaxPooling2D,
            lambda: layers.AveragePooling2D(2),
            layers.ZeroPadding2D,
            layers.Cropping2D,
            layers.UpSampling2D,
        )


@register_rule(*(getattr(layers, f"Global{kind}Pooling{rank}D") for kind in ("Max", "Average") for rank in (1, 2, 3)))
class GlobalPooling(LayerRule):
    """Global pooling: the spatial axes go, or stay with length one."""

    straight = True

    def trace(self, call: Call, labels: Labeller) -> Trace:
        given, rank = labels[call.inputs[0]], len(call.inputs[0].shape)
        first = call.operation.data_format == "channels_first"
        if given.axis != (1 if first else rank - 1):
            return labels.refuse(call, "pools over the axis that the channels run along")
        axis = given.axis if call.operation.keepdims or first else 1
        return Trace((Labels(axis, given.ids),), {"out": given.ids})

    def legacy(self, operation: Any) -> Sequence[Legacy]:
        return (Legacy(scale="input" if "Max" in type(operation).__name__ else "own"),)

    def examples(self) -> Sequence[Any]:
        return [
            keras.Sequential(
                [
                    keras.Input((8, 8, 3)),
                    layers.Conv2D(6, 3, activation="relu"),
                    layers.GlobalAveragePooling2D(keepdims=keepdims),
                    layers.Dense(4),
                ]
            )
            for keepdims in (False, True)
        ]


def _operations(names: str) -> list[type]:
    """The operation classes behind `keras.ops` functions; a name that this Keras does not have is left out."""
    homes = (kops.numpy, kops.nn, kops.math, kops.core)
    found = (next((getattr(home, name) for home in homes if hasattr(home, name)), None) for name in names.split())
    return [kind for kind in found if kind is not None]


@register_rule(
    *_operations(
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
            x = layers.Conv2D(6, 3)(x)
            for function in functions:
                x = function(x)
            return keras.Model(inputs, layers.Conv2D(4, 1)(x))

        return [net(keras.ops.relu, keras.ops.negative, lambda x: keras.ops.clip(x, -1.0, 2.0), keras.ops.gelu)]


def _options(operation: Any) -> list[Any]:
    """What an operation was made with."""
    return [value for name, value in vars(operation).items() if not name.startswith("_")]


_STRAIGHT = tuple(
    _operations(
        "Absolute Abs Cast Clip Copy HardShrink HardSigmoid HardTanh LeakyRelu Negative Relu Relu6 SoftShrink Threshold"
    )
)


@register_rule(*_operations("Mean Sum Max Min Amax Amin"))
class Reduction(LayerRule):
    """Reductions over other axes than the channels'."""

    straight = True

    def trace(self, call: Call, labels: Labeller) -> Trace:
        given, tensor = labels[call.inputs[0]], call.inputs[0]
        rank, axis = len(tensor.shape), call.operation.axis
        gone = set(range(rank)) if axis is None else {a % rank for a in np.atleast_1d(axis).tolist()}
        if given.axis is None or given.axis in gone or 0 in gone or len(call.inputs) > 1:
            return labels.refuse(call, "reduces over the channels or the batch")
        lost = 0 if call.operation.keepdims else sum(a < given.axis for a in gone)
        return Trace((Labels(given.axis - lost, given.ids),), {"out": given.ids})

    def examples(self) -> Sequence[Any]:
        x = inputs = keras.Input((8, 8, 3))
        x = layers.Conv2D(6, 3, activation="relu")(x)
        x = keras.ops.max(keras.ops.mean(x, axis=1, keepdims=True), axis=(1, 2))
        return [keras.Model(inputs, layers.Dense(4)(x))]
