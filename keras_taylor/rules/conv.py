"""Convolutions: groups, depthwise, separable and transposed ones."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

from keras_taylor._keras.program import Call
from keras_taylor.rules._activation import mixes_channels, tf_keras_activation
from keras_taylor.rules._base import Keep, Labeller, Labels, LayerRule, Linear, Remake, Step, Trace
from keras_taylor.rules._locks import LockReason
from keras_taylor.rules._registry import register_rule
from keras_taylor.rules._tf_keras_form import TFKerasForm


def _channel_axis(call: Call) -> int:
    return 1 if call.operation.data_format == "channels_first" else len(call.inputs[0].shape) - 1


def _window(operation: Any, transposed: bool = False) -> Any:
    """The operation's own window as a layer that shows each tap: one input channel, one output channel per tap."""
    kinds = _TRANSPOSED if transposed else _CONV
    names = ("kernel_size", "strides", "padding", "dilation_rate", "data_format") + ("output_padding",) * transposed
    taps = math.prod(operation.kernel_size)
    options = {name: getattr(operation, name) for name in names}
    layer = kinds[operation.rank - 1](taps, use_bias=False, dtype="float32", **options)
    layer.build((1,) + (None,) * operation.rank + (1,))
    one_hot = np.eye(taps, dtype="float32").reshape((*operation.kernel_size, 1, taps))
    layer.kernel.assign(np.swapaxes(one_hot, -1, -2) if transposed else one_hot)
    return layer


def _spatial(shape: Sequence[int | None], channel_axis: int) -> int:
    return math.prod(d or 1 for axis, d in enumerate(shape) if axis not in (0, channel_axis))


class _Convolution(LayerRule, ABC):
    """What all convolutions share: labels on the channel axis, positions from the spatial shape.

    `weights` names the last two axes of each kernel; those of the window stand before them.
    """

    linear_pieces = True

    def weight_axes(self, operation: Any) -> Mapping[str, str]:
        window = ". " * operation.rank
        axes = super().weight_axes(operation)
        return {name: window + words if name in self.kernels else words for name, words in axes.items()}

    def positions(self, call: Call) -> int:
        return _spatial(call.outputs[0].shape, _channel_axis(call))

    def trace(self, call: Call, labels: Labeller) -> Trace:
        given, axis = labels[call.inputs[0]], _channel_axis(call)
        if given.axis != axis:
            return labels.refuse(call, "reads channels that do not run along its channel axis", LockReason.OTHER_AXIS)
        traced = self.convolve(call, given, labels)
        reason = mixes_channels(call.operation)
        if reason:
            labels.lock(traced.outputs[0].ids, reason, LockReason.MIXES_CHANNELS, call)
        return traced

    @abstractmethod
    def convolve(self, call: Call, given: Labels, labels: Labeller) -> Trace:
        """Follow the labels `given`, which run along the channel axis."""


def _tf_keras_conv(
    operation: Any, kind: str, kernel: str, options: Sequence[str], tf_keras_kernel: str = "kernel", **changed: Any
) -> TFKerasForm:
    """The convolution without its activation; `changed` has the config entries that are not the operation's attributes."""
    config = {name: getattr(operation, name) for name in ("data_format", *options)}
    config |= {"use_bias": operation.bias is not None} | changed
    weights = (kernel, "bias") if config["use_bias"] else (kernel,)
    return TFKerasForm(kind, config, weights, role="kernel", kernel=tf_keras_kernel)


_WINDOW = ("kernel_size", "strides", "padding", "dilation_rate")

_CONV = (keras.layers.Conv1D, keras.layers.Conv2D, keras.layers.Conv3D)


@register_rule(*_CONV)
class Conv(_Convolution):
    """Convolution, grouped ones included.

    With more groups than channels in a group, whole groups are removed: a group's inputs and outputs are tied, and the kernel
    does not contract over labels. Otherwise every group loses the same positions, so that groups stay equally wide.
    """

    weights = {"kernel": "in out", "bias": "out"}
    kernels = ("kernel",)

    def weight_axes(self, operation: Any) -> Mapping[str, str]:
        axes = super().weight_axes(operation)
        return {**axes, "kernel": axes["kernel"].replace("in", ".")} if _whole_groups(operation) else axes

    def convolve(self, call: Call, given: Labels, labels: Labeller) -> Trace:
        layer = call.operation
        out = labels.mint(call, layer.filters)
        if layer.groups == 1:
            return Trace((Labels(given.axis, out),), {"in": given.ids, "out": out}, consumes=True)
        ins, outs = given.ids.reshape(layer.groups, -1), out.reshape(layer.groups, -1)
        if _whole_groups(layer):
            labels.tie(ins, ins[:, :1])
            labels.tie(outs, ins[:, :1])
            return Trace((Labels(given.axis, out),), {"out": out})
        labels.tie(ins, ins[:1])
        labels.tie(outs, outs[:1])
        return Trace((Labels(given.axis, out),), {"in": ins[0].copy(), "out": out}, consumes=True)

    def remake(self, step: Step, keep: Keep) -> Remake:
        if "out" not in step.axes:  # refused: it stays as it is
            return Remake()
        layer, filters = step.call.operation, int(keep[step.axes["out"]].sum())
        config = {"filters": filters}
        if _whole_groups(layer):
            config["groups"] = filters * layer.groups // layer.filters
        return Remake(config)

    def inherit(self, operation: Any, copy: Any) -> None:
        if operation.groups > 1:
            copy.pruned_by_whole_groups = _whole_groups(operation)

    def linear(self, operation: Any) -> Linear:
        groups = operation.groups

        def to_matrix(kernel: Any) -> Any:
            flat = kernel.reshape(-1, groups, kernel.shape[-1] // groups)
            return flat.transpose(1, 0, 2)

        def from_matrix(kernel: Any, matrix: Any) -> Any:
            return matrix.transpose(1, 0, 2).reshape(kernel.shape)

        return Linear("kernel", groups, _window(operation), to_matrix, from_matrix)

    def tf_keras_form(self, operation: Any) -> Sequence[TFKerasForm]:
        conv = _tf_keras_conv(operation, f"Conv{operation.rank}D", "kernel", ("filters", "groups", *_WINDOW))
        return (conv, *tf_keras_activation(operation))

    def examples(self) -> Sequence[Any]:
        def grouped(filters: int, groups: int) -> Any:
            return keras.Sequential(
                [
                    keras.Input((6, 6, 3)),
                    keras.layers.Conv2D(8, 3, activation="relu"),
                    keras.layers.Conv2D(filters, 3, groups=groups, padding="same", activation="relu"),
                    keras.layers.Conv2D(4, 1),
                ]
            )

        volumes = [
            keras.Sequential([keras.Input((6,) * rank + (3,)), layer(6, 3), keras.layers.ReLU(), layer(4, 1)])
            for rank, layer in enumerate(_CONV, start=1)
        ]
        return [*volumes, grouped(8, 2), grouped(16, 4), grouped(16, 8), grouped(8, 8)]


def _whole_groups(layer: Any) -> bool:
    """Whether whole groups are removed; a pruned layer goes on as it began, whatever its shape has become."""
    inputs = layer.kernel.shape[-2]
    began: bool | None = getattr(layer, "pruned_by_whole_groups", None)
    return layer.groups > min(inputs, layer.filters // layer.groups) > 0 and layer.groups > 1 if began is None else began


@register_rule(keras.layers.DepthwiseConv1D, keras.layers.DepthwiseConv2D)
class DepthwiseConv(_Convolution):
    """Depthwise convolution: each channel goes in alone and comes out `depth_multiplier` times."""

    weights = {"kernel": "in .", "bias": "out"}
    kernels = ("kernel",)

    def convolve(self, call: Call, given: Labels, labels: Labeller) -> Trace:
        out = np.repeat(given.ids, call.operation.depth_multiplier)
        return Trace((Labels(given.axis, out),), {"in": given.ids, "out": out})

    def linear(self, operation: Any) -> Linear:
        def to_matrix(kernel: Any) -> Any:
            return kernel.reshape(-1, *kernel.shape[-2:]).transpose(1, 0, 2)

        def from_matrix(kernel: Any, matrix: Any) -> Any:
            return matrix.transpose(1, 0, 2).reshape(kernel.shape)

        return Linear("kernel", operation.kernel.shape[-2], _window(operation), to_matrix, from_matrix)

    def tf_keras_form(self, operation: Any) -> Sequence[TFKerasForm]:
        options = ("depth_multiplier", *_WINDOW)
        conv = _tf_keras_conv(operation, f"DepthwiseConv{operation.rank}D", "kernel", options, "depthwise_kernel")
        return (conv, *tf_keras_activation(operation))

    def examples(self) -> Sequence[Any]:
        return [
            keras.Sequential(
                [
                    keras.Input((6,) * rank + (3,)),
                    conv(6, 3),
                    depthwise(3, depth_multiplier=2, bias_initializer="ones"),
                    keras.layers.ReLU(),
                    conv(4, 1),
                ]
            )
            for rank, conv, depthwise in (
                (1, keras.layers.Conv1D, keras.layers.DepthwiseConv1D),
                (2, keras.layers.Conv2D, keras.layers.DepthwiseConv2D),
            )
        ]


@register_rule(keras.layers.SeparableConv1D, keras.layers.SeparableConv2D)
class SeparableConv(_Convolution):
    """A depthwise and a pointwise convolution in one layer."""

    weights = {"depthwise_kernel": "in .", "pointwise_kernel": "between out", "bias": "out"}
    kernels = ("depthwise_kernel", "pointwise_kernel")
    config = {"filters": "out"}

    def convolve(self, call: Call, given: Labels, labels: Labeller) -> Trace:
        out = labels.mint(call, call.operation.filters)
        between = np.repeat(given.ids, call.operation.depth_multiplier)
        return Trace((Labels(given.axis, out),), {"in": given.ids, "between": between, "out": out}, consumes=True)

    def linear(self, operation: Any) -> Linear:
        """The pointwise part; the depthwise part is left as it is."""

        def mix(rows: Any) -> Any:
            depthwise = operation.depthwise_kernel.numpy()
            mixed = np.einsum("rtc,tcm->rcm", rows, depthwise.reshape(rows.shape[1], rows.shape[2], -1))
            return mixed.reshape(len(rows), 1, -1)

        def to_matrix(kernel: Any) -> Any:
            return kernel.reshape(1, -1, kernel.shape[-1])

        def from_matrix(kernel: Any, matrix: Any) -> Any:
            return matrix.reshape(kernel.shape)

        return Linear("pointwise_kernel", 1, _window(operation), to_matrix, from_matrix, mix)

    def tf_keras_form(self, operation: Any) -> Sequence[TFKerasForm]:
        """A depthwise convolution, rounding, and a pointwise convolution, as LiteRT computes it."""
        rank, options = operation.rank, ("depth_multiplier", *_WINDOW)
        name = "depthwise_kernel"
        depthwise = _tf_keras_conv(operation, f"DepthwiseConv{rank}D", name, options, name, use_bias=False)
        pointwise = _tf_keras_conv(operation, f"Conv{rank}D", "pointwise_kernel", ("filters",), kernel_size=1)
        return (depthwise, pointwise, *tf_keras_activation(operation))

    def examples(self) -> Sequence[Any]:
        return [
            keras.Sequential(
                [keras.Input((7,) * rank + (3,)), layer(6, 3), keras.layers.ReLU(), layer(4, 3, depth_multiplier=2)]
            )
            for rank, layer in ((1, keras.layers.SeparableConv1D), (2, keras.layers.SeparableConv2D))
        ]


_TRANSPOSED = (keras.layers.Conv1DTranspose, keras.layers.Conv2DTranspose, keras.layers.Conv3DTranspose)


@register_rule(*_TRANSPOSED)
class ConvTranspose(_Convolution):
    """Transposed convolution: the kernel is `(window..., out, in)` and slides over the input."""

    weights = {"kernel": "out in", "bias": "out"}
    kernels = ("kernel",)
    config = {"filters": "out"}

    def positions(self, call: Call) -> int:
        return _spatial(call.inputs[0].shape, _channel_axis(call))

    def convolve(self, call: Call, given: Labels, labels: Labeller) -> Trace:
        out = labels.mint(call, call.operation.filters)
        return Trace((Labels(given.axis, out),), {"in": given.ids, "out": out}, consumes=True)

    def linear(self, operation: Any) -> Linear:
        def to_matrix(kernel: Any) -> Any:
            return np.swapaxes(kernel, -1, -2).reshape(1, -1, kernel.shape[-2])

        def from_matrix(kernel: Any, matrix: Any) -> Any:
            shape = (*kernel.shape[:-2], kernel.shape[-1], kernel.shape[-2])
            return np.swapaxes(matrix.reshape(shape), -1, -2)

        return Linear("kernel", 1, _window(operation, transposed=True), to_matrix, from_matrix)

    def tf_keras_form(self, operation: Any) -> Sequence[TFKerasForm]:
        options = ("filters", *_WINDOW, "output_padding")
        conv = _tf_keras_conv(operation, f"Conv{operation.rank}DTranspose", "kernel", options)
        return (conv, *tf_keras_activation(operation))

    def examples(self) -> Sequence[Any]:
        return [
            keras.Sequential([keras.Input((3,) * rank + (3,)), layer(6, 3, strides=2), keras.layers.ReLU(), layer(4, 2)])
            for rank, layer in enumerate(_TRANSPOSED, start=1)
        ]
