"""What silencing a channel would do to the loss if the model's logits were linear in its gate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_taylor._keras.heads import Logits
from keras_taylor._record.backward import Backward
from keras_taylor._record.statistics._base import BackwardStatistic, register_statistic
from keras_taylor.criteria._statistics import LOSS, Array

_ROWS = 2**14
"""Examples times channels whose loss is taken at once."""


@register_statistic("linear_change")
class LinearChange(BackwardStatistic):
    """The change of the loss when the channel is silenced, if the model's logits (or other outputs) were linear in its gate.

    A gate that goes from one to zero then takes the logits from t to t - dt/d(gate). One backward pass per output; the slopes
    of a batch, `4 * outputs * batch * channels` bytes, are in memory at once.
    """

    source = LOSS
    per_channel = True
    takes_sampled_labels = False

    def target(self, back: Backward) -> Logits:
        """The logits."""
        return back.logits

    def measure(self, back: Backward, target: Logits) -> Any:
        """The change of each example's loss, shape `(batch, channels)`."""
        sites, logits = back.forward.sites, target.values
        batch, size = tf.shape(logits)[0], logits.shape[1]

        def slope(number: Any) -> Any:
            return sites.sums(back.slope(logits, tf.one_hot(tf.fill([batch], number), size)))

        slopes = tf.map_fn(slope, tf.range(size), fn_output_signature=tf.float32, parallel_iterations=1)
        slopes = tf.transpose(slopes, (2, 1, 0))  # channels, batch, outputs
        plain = back.loss(back.forward.objectives.of_each, target.to_outputs(logits))
        at_once = tf.maximum(_ROWS // batch, 1)

        def changes(start: Any) -> Any:
            mine = slopes[start : start + at_once]
            count = tf.shape(mine)[0]
            moved = tf.reshape(logits[None] - mine, (-1, size))
            return tf.reshape(_losses(back, count, target.to_outputs(moved)), (count, batch)) - plain

        def add(start: Any, made: Any) -> tuple[Any, Any]:
            return start + at_once, tf.concat([made, changes(start)], 0)

        _, made = tf.while_loop(
            lambda start, _: start < tf.shape(slopes)[0],
            add,
            (tf.constant(0), tf.zeros((0, batch))),
            shape_invariants=(tf.TensorShape([]), tf.TensorShape([None, None])),
            parallel_iterations=1,
        )
        return tf.transpose(made)

    def example(self, rng: np.random.Generator, examples: int, channels: int) -> Array:
        """Of either sign."""
        return rng.normal(size=(examples, channels))


def _losses(back: Backward, count: Any, outputs: Sequence[Any]) -> Any:
    """The loss of each of `count` copies of the batch, one after the other, at these outputs."""
    x, y, weight = keras.tree.map_structure(
        lambda a: None if a is None else tf.tile(a, tf.concat([[count], tf.ones([tf.rank(a) - 1], tf.int32)], 0)),
        (back.x, back.y, back.weight),
    )
    return back.forward.loss(back.forward.objectives.of_each, x, y, outputs, weight)
