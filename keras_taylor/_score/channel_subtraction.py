"""The output of a call that reads channels without one of them, from its output with all of them.

A convolution or a dense layer is linear in its inputs: what a channel adds is all that must be computed, not the layer.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from keras_taylor._keras.program import Call, infer
from keras_taylor._record.gate import by_example
from keras_taylor._trace.read_sites import ReadSite
from keras_taylor.rules import rule_for

# A channel with more than this share of all that goes into a sum would leave too few digits when it is taken out again.
_SHARE = 0.99


class ChannelSubtraction:
    """One call, whose outputs can be had without the channel at some positions of its input.

    Attributes:
        taps: inputs of the window, per channel.
        elements: size of a position's slice of the kernel.
    """

    def __init__(self, call: Call, linear: Any) -> None:
        self.call = call
        operation = call.operation
        self.window = linear.window
        kernel = linear.to_matrix(np.asarray(getattr(operation, linear.kernel)))[0]
        by_input = kernel.reshape(-1, call.inputs[0].shape[-1], kernel.shape[-1]).swapaxes(0, 1)  # inputs, taps, outputs
        self.kernel = np.ascontiguousarray(by_input)
        self.taps = by_input.shape[1]
        self.elements = by_input[0].size
        self.activation = getattr(operation, "activation", None)

    def start(self, x: Any, batch: Any) -> tuple[Any, Any, Any]:
        """What later runs begin with.

        Returns:
            The outputs before the activation; the inputs, positions first, as `(batch, positions, rows per example, ...)`; and
            the share that each position of each example has in the sums, shape `(batch, positions)`, or NaN.
        """
        args, kwargs = self.call.fill({self.call.inputs[0].index: x})
        with _without_activation(self.call.operation):
            outputs = infer(self.call, args, kwargs)
        shape = tf.shape(x)
        rank = len(x.shape)
        maps = tf.reshape(x, tf.concat([[batch, shape[0] // batch], shape[1:]], 0))
        maps = tf.transpose(maps, [0, rank, *range(1, rank)])
        sizes = tf.reduce_sum(tf.abs(by_example(x, -1, batch)), 1) * tf.reduce_sum(tf.abs(self.kernel), [1, 2])
        whole = tf.reduce_sum(sizes, 1, keepdims=True)
        return outputs, maps, tf.where(tf.math.is_finite(whole), sizes / whole, math.nan)

    def __call__(self, outputs: Any, maps: Any, examples: Any, positions: Any) -> Any:
        """The outputs without the given positions, of shape `(runs, positions of one channel)`, in an example each.

        Args:
            outputs: of `start`, of the given examples.
            maps: of `start`, of all examples.
            examples: numbers of them.
            positions: to silence in each.
        """
        runs, width = tf.shape(positions)[0], positions.shape[1]
        where = tf.stack([tf.repeat(examples[:, None], width, 1), positions], -1)
        taken = tf.gather_nd(maps, where)  # runs, positions of a channel, rows per example, ...
        if self.window is not None:
            shape = tf.shape(taken)
            taken = self.window(tf.reshape(taken, tf.concat([[-1], shape[3:], [1]], 0)))
        taken = tf.reshape(taken, (runs, width, -1, self.taps))
        if width > 1:
            taken = tf.transpose(taken, (0, 2, 1, 3))
        taken = tf.reshape(taken, (runs, -1, width * self.taps))
        kernel = tf.reshape(tf.gather(self.kernel, positions), (runs, width * self.taps, -1))
        rest = outputs - tf.reshape(tf.matmul(taken, kernel), tf.shape(outputs))
        rest.set_shape(outputs.shape)
        return rest if self.activation is None else self.activation(rest)


def subtraction_for(call: Call, site: ReadSite) -> ChannelSubtraction | None:
    """How channels that `call` reads are subtracted from its output; None where it must be computed anew."""
    operation = call.operation
    rule, _ = rule_for(operation)
    # In half precision, what is left after a channel is taken out again has too few digits.
    if getattr(operation, "compute_dtype", "") != "float32" or call.inputs[0].dtype != "float32" or site.axis != -1:
        return None
    if getattr(operation, "quantization_mode", None) is not None:
        return None
    linear = None if rule is None else rule.linear(operation)
    if linear is None or linear.groups > 1 or linear.mix is not None:
        return None
    return ChannelSubtraction(call, linear)


def digits_remain(shares: NDArray[np.floating[Any]]) -> NDArray[np.bool_]:
    """Where a channel with such a share can be taken out again. Not where the share is NaN: something is infinite."""
    return shares <= _SHARE


@contextmanager
def _without_activation(operation: Any) -> Iterator[None]:
    """Switch the operation's activation off. Past Keras's setter, which tracks what is assigned."""
    attributes = vars(operation)
    if attributes.get("activation") is None:
        yield
        return
    activation = attributes["activation"]
    attributes["activation"] = None
    try:
        yield
    finally:
        attributes["activation"] = activation
