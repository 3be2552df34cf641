"""Activation functions: which work on each channel by itself, and what 8-bit arithmetic makes of them."""

from __future__ import annotations

from typing import Any

import keras

from keras_taylor.rules._tf_keras_form import Legacy

_ELEMENTWISE = {
    getattr(keras.activations, name)
    for name in (
        "celu elu exponential gelu hard_shrink hard_sigmoid hard_silu hard_swish hard_tanh leaky_relu linear log_sigmoid "
        "mish relu relu6 selu sigmoid silu soft_shrink softplus softsign sparse_plus sparse_sigmoid squareplus swish tanh "
        "tanh_shrink threshold"
    ).split()
    if hasattr(keras.activations, name)
}
_STRAIGHT = {
    getattr(keras.activations, name)
    for name in "hard_shrink hard_sigmoid hard_tanh leaky_relu linear relu relu6 soft_shrink threshold".split()
    if hasattr(keras.activations, name)
}
_LAYERS = (keras.layers.ReLU, keras.layers.LeakyReLU, keras.layers.ELU)


def bends(activation: Any) -> bool:
    """Whether an activation is anything but piecewise linear."""
    if isinstance(activation, keras.layers.Activation):
        return bends(activation.activation)
    return not (
        activation is None or activation in _STRAIGHT or isinstance(activation, (keras.layers.ReLU, keras.layers.LeakyReLU))
    )


def mixes_channels(operation: Any) -> str:
    """Why the `activation` of a layer cannot be followed, or an empty string when it works on each channel by itself."""
    activation = getattr(operation, "activation", None)
    if activation is None or activation in _ELEMENTWISE:
        return ""
    if type(activation) in _LAYERS or (type(activation) is keras.layers.Activation and not mixes_channels(activation)):
        return ""
    name = getattr(activation, "__name__", type(activation).__name__)
    return f"has the activation {name!r}, which may mix channels"


_FUSED = {getattr(keras.activations, name) for name in ("relu", "relu6")}
_BOUNDED = {getattr(keras.activations, name) for name in ("sigmoid", "softmax", "tanh")}


def legacy_activation(operation: Any) -> tuple[Legacy, ...]:
    """The `activation` of a layer as a legacy layer of its own; none for a linear one."""
    activation = operation.activation
    if activation in (None, keras.activations.linear):
        return ()
    fused = activation in _FUSED or (isinstance(activation, keras.layers.ReLU) and clips_at_zero(activation))
    scale = "fixed" if activation in _BOUNDED else "own"
    return (Legacy("Activation", {"activation": activation}, role="activation" if fused else "", scale=scale),)


def clips_at_zero(layer: Any) -> bool:
    """Whether LiteRT has this ReLU as the end of another operation."""
    return layer.negative_slope == 0 and layer.threshold == 0 and layer.max_value in (None, 6, 6.0)
