"""Activation functions: which work on each channel by itself, which only clip, and what 8-bit arithmetic makes of them."""

from __future__ import annotations

import math
from typing import Any

import keras

from keras_taylor.rules._tf_keras_form import TFKerasForm

_ELEMENTWISE = {
    getattr(keras.activations, name)
    for name in (
        "celu elu exponential gelu hard_shrink hard_sigmoid hard_silu hard_swish hard_tanh leaky_relu linear log_sigmoid "
        "mish relu relu6 selu sigmoid silu soft_shrink softplus softsign sparse_plus sparse_sigmoid squareplus swish tanh "
        "tanh_shrink threshold"
    ).split()
    if hasattr(keras.activations, name)
}
_PIECEWISE_LINEAR = {
    getattr(keras.activations, name)
    for name in "hard_shrink hard_sigmoid hard_tanh leaky_relu linear relu relu6 soft_shrink threshold".split()
    if hasattr(keras.activations, name)
}
_LAYERS = (keras.layers.ReLU, keras.layers.LeakyReLU, keras.layers.ELU)
_FUSED = {getattr(keras.activations, name) for name in ("relu", "relu6")}
_BOUNDED = {getattr(keras.activations, name) for name in ("sigmoid", "softmax", "tanh")}

ClipRange = tuple[float, float]
UNCLIPPED: ClipRange = (-math.inf, math.inf)
"""The range of an operation that clips nothing."""
POSITIVE: ClipRange = (0.0, math.inf)
UP_TO_SIX: ClipRange = (0.0, 6.0)
_CLIPS = {
    None: UNCLIPPED,
    keras.activations.linear: UNCLIPPED,
    keras.activations.relu: POSITIVE,
    keras.activations.relu6: UP_TO_SIX,
}


def is_piecewise_linear(activation: Any) -> bool:
    """Whether an activation (a function, a layer, or None for the identity) is piecewise linear."""
    if isinstance(activation, keras.layers.Activation):
        return is_piecewise_linear(activation.activation)
    known = activation is None or activation in _PIECEWISE_LINEAR
    return known or isinstance(activation, (keras.layers.ReLU, keras.layers.LeakyReLU))


def activation_range(activation: Any) -> ClipRange | None:
    """What an activation (a function, a layer, or None for the identity) clips to; None where it does something else."""
    if isinstance(activation, keras.layers.ReLU):
        plain = not activation.negative_slope and not activation.threshold
        return (0.0, math.inf if activation.max_value is None else float(activation.max_value)) if plain else None
    if isinstance(activation, keras.layers.Activation):
        activation = activation.activation
    return next((clips for known, clips in _CLIPS.items() if activation is known), None)


def mixes_channels(operation: Any) -> str:
    """Why the `activation` of a layer cannot be followed, or an empty string when it works on each channel by itself."""
    activation = getattr(operation, "activation", None)
    if activation is None or activation in _ELEMENTWISE:
        return ""
    if type(activation) in _LAYERS or (type(activation) is keras.layers.Activation and not mixes_channels(activation)):
        return ""
    name = getattr(activation, "__name__", type(activation).__name__)
    return f"has the activation {name!r}, which may mix channels"


def tf_keras_activation(operation: Any) -> tuple[TFKerasForm, ...]:
    """The `activation` of a layer as a layer of tf_keras; none for a linear one."""
    activation = operation.activation
    if activation in (None, keras.activations.linear):
        return ()
    fused = activation in _FUSED or (isinstance(activation, keras.layers.ReLU) and clips_at_zero(activation))
    scale = "fixed" if activation in _BOUNDED else "own"
    return (TFKerasForm("Activation", {"activation": activation}, role="activation" if fused else "", scale=scale),)


def clips_at_zero(layer: Any) -> bool:
    """Whether LiteRT has this ReLU as the end of another operation."""
    return layer.negative_slope == 0 and layer.threshold == 0 and layer.max_value in (None, 6, 6.0)
