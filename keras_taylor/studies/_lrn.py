"""Local response normalisation across channels, so that channels can be removed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from keras_taylor._keras.program import Call
from keras_taylor.errors import BadInput
from keras_taylor.rules import Keep, Labeller, LayerRule, LockReason, Remake, Step, Trace, register_rule


@keras.saving.register_keras_serializable("keras_taylor")
class NeighbourFactor(keras.layers.Layer):
    """The factor by which local response normalisation multiplies each channel: `(k + alpha / n * sum of squares) ** -beta`.

    The sum is over the `n` channels around a channel, at the same position. The layer knows which place each of its channels
    had at first: those that are left after pruning do not become neighbours of others.

    Args:
        places: the place of each channel among the first ones, ascending; None for all channels of the input.
        size: `n`, odd.
        alpha: as Caffe has it, divided by `n`.
        beta: the exponent.
        k: the summand.

    Input shape: `(batch, height, width, channels)`.
    Output shape: that of the input.

    Example:
        >>> x = keras.ops.ones((1, 1, 1, 3))
        >>> NeighbourFactor(size=3, alpha=3.0, beta=1.0)(x).numpy().ravel().astype(float).round(3).tolist()
        [0.333, 0.25, 0.333]

    Raises:
        BadInput: an even size.

    References:
        Krizhevsky et al. 2012, section 3.3; the numbers of the two LRN layers of Caffe's CaffeNet.
    """

    def __init__(
        self,
        places: Sequence[int] | None = None,
        size: int = 5,
        alpha: float = 1e-4,
        beta: float = 0.75,
        k: float = 1.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if size % 2 == 0:
            raise BadInput(f"NeighbourFactor(size=) must be odd: a channel and as many on both sides. Received: {size}.")
        self.places = None if places is None else tuple(int(place) for place in places)
        self.size, self.alpha, self.beta, self.k = size, alpha, beta, k

    def call(self, inputs: Any) -> Any:
        """The factors."""
        places = range(inputs.shape[-1]) if self.places is None else self.places
        reach = self.size // 2
        # Squares at their first places, with zeros where a channel is gone and around all.
        source = np.full(places[-1] + 1 + 2 * reach, len(places))
        source[np.array(places) + reach] = np.arange(len(places))
        squares = keras.ops.pad(keras.ops.square(inputs), [(0, 0)] * (len(inputs.shape) - 1) + [(0, 1)])
        if len(source) - 2 * reach == len(places):
            spread = keras.ops.pad(squares[..., :-1], [(0, 0)] * (len(inputs.shape) - 1) + [(reach, reach)])
        else:
            spread = keras.ops.take(squares, source, axis=-1)
        width = len(source) - 2 * reach
        total = spread[..., :width]
        for shift in range(1, self.size):
            total = total + spread[..., shift : shift + width]
        if width != len(places):
            total = keras.ops.take(total, np.array(places), axis=-1)
        return keras.ops.power(self.k + self.alpha / self.size * total, -self.beta)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """That of the input."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """All arguments."""
        names = ("places", "size", "alpha", "beta", "k")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}


def local_response_normalization(x: Any, name: str) -> Any:
    """`x`, normalised across channels as CaffeNet does."""
    return keras.layers.Multiply(name=name)([x, NeighbourFactor(name=f"{name}_factor")(x)])


@register_rule(NeighbourFactor)
class NeighbourFactorRule(LayerRule):
    """Each factor belongs to its channel, and reads its neighbours: they are silenced here, too."""

    def trace(self, call: Call, labels: Labeller) -> Trace:
        """Pass the labels on, and read them."""
        given = labels[call.inputs[0]]
        if given.axis != len(call.inputs[0].shape) - 1:
            return labels.refuse(call, "reads channels that do not run along the last axis", LockReason.OTHER_AXIS)
        return Trace((given,), {"out": given.ids}, consumes=True)

    def remake(self, step: Step, keep: Keep) -> Remake:
        """The places of the channels that stay."""
        if "out" not in step.axes:
            return Remake()
        layer, ids = step.call.operation, step.axes["out"]
        places = np.arange(len(ids)) if layer.places is None else np.array(layer.places)
        return Remake({"places": tuple(places[keep[ids]].tolist())})

    def examples(self) -> Sequence[Any]:
        """One convolution before, and one behind."""
        x = inputs = keras.Input((6, 6, 3))
        x = keras.layers.Conv2D(9, 3, activation="relu")(x)
        x = keras.layers.Multiply()([x, NeighbourFactor(alpha=5.0)(x)])
        return [keras.Model(inputs, keras.layers.Conv2D(4, 1)(x))]
