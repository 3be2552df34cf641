"""The loss of linearised outputs: what silencing a channel would do if the logits were linear in its gate."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from keras_taylor._keras.heads import LogitSpace
from keras_taylor._trace.read_sites import ReadSites

_ROWS = 2**14
"""Examples times channels whose loss is taken at once."""


def linear_change(
    tape: Any,
    natural: Any,
    probes: list[Any],
    outputs: LogitSpace,
    sites: ReadSites,
    losses: Callable[[Any, Any, Any, Any], Any],
    data: Any,
    scale: Any,
) -> Any:
    """The change of each example's loss, shape `(batch, channels)`, when a gate takes its natural outputs from t to t - dt/dg.

    One backward pass per output; the slopes of a batch, `4 * outputs * batch * channels` bytes, are in memory at once.

    Args:
        tape: a persistent tape that has recorded how `natural` depends on `probes`.
        natural: the natural outputs t.
        probes: one for each site.
        outputs: how natural outputs are put out.
        sites: where channels are read.
        losses: the loss of every example, of `(x, y, outputs, sample weights)`.
        data: the batch, `(x, y, sample weights)`.
        scale: factor that keeps gradients of half precision from underflow.
    """
    batch, size = tf.shape(natural)[0], natural.shape[1]

    def slope(number: Any) -> Any:
        along = tf.one_hot(tf.fill([batch], number), size) * scale
        found = tape.gradient(natural, probes, along, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        return sites.sums(tf.concat(found, 1)) / scale

    slopes = tf.map_fn(slope, tf.range(size), fn_output_signature=tf.float32, parallel_iterations=1)
    slopes = tf.transpose(slopes, (2, 1, 0))  # channels, batch, outputs
    plain = tf.cast(losses(data[0], data[1], outputs.to_outputs(natural), data[2]), tf.float32)
    at_once = tf.maximum(_ROWS // batch, 1)

    def changes(start: Any) -> Any:
        mine = slopes[start : start + at_once]
        count = tf.shape(mine)[0]
        moved = tf.reshape(natural[None] - mine, (-1, size))
        repeated = keras.tree.map_structure(lambda a: None if a is None else _repeated(a, count), data)
        found = tf.cast(losses(repeated[0], repeated[1], outputs.to_outputs(moved), repeated[2]), tf.float32)
        return tf.reshape(found, (count, batch)) - plain

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


def _repeated(x: Any, count: Any) -> Any:
    return tf.tile(x, tf.concat([[count], tf.ones([tf.rank(x) - 1], tf.int32)], 0))
