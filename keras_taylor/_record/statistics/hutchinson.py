"""Hutchinson's estimate of the second derivative with respect to gates."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from keras_taylor._record.forward import Forward
from keras_taylor._record.statistics._base import Columns, Pass, Statistic, register_statistic
from keras_taylor._trace.read_sites import ReadSite
from keras_taylor.criteria._statistics import LOSS, Array


@register_statistic("hutchinson")
class SecondDerivative(Statistic):
    """An unbiased estimate of d2Loss/d(gate)2 of any net, from random directions.

    References:
        Hutchinson 1990, "A Stochastic Estimator of the Trace of the Influence Matrix for Laplacian Smoothing Splines".
    """

    source = LOSS
    per_channel = True

    def separate_pass(self, forward: Forward, draws: int, seed: int) -> Pass:
        """It differentiates twice, through gates that really multiply."""
        return _Hutchinson(forward, draws, seed)

    def example(self, rng: np.random.Generator, examples: int, channels: int) -> Array:
        """Of either sign."""
        return rng.normal(size=(examples, channels))


class _Hutchinson:
    """The diagonal of the Hessian with respect to gates as `v * (H v)`, for random signs v.

    Every example has its gates, one for each channel.

    Args:
        forward: the model's forward pass.
        draws: how many estimates are averaged.
        seed: for the signs.
    """

    def __init__(self, forward: Forward, draws: int, seed: int) -> None:
        self.forward = forward
        self.draws = draws
        self.seed = seed
        self._counter = tf.Variable(0, dtype=tf.int32, trainable=False)
        self._run = tf.function(self._measure, reduce_retracing=True)

    def __call__(self, x: Any, y: Any, weight: Any, scale: Any) -> Columns:
        """The mean of all draws for one batch, shape `(batch, channels)`."""
        found = [self._run(x, y, weight, scale) for _ in range(self.draws)]
        return {"hutchinson": tf.add_n(found) / self.draws}

    def _measure(self, x: Any, y: Any, weight: Any, scale: Any) -> Any:
        forward = self.forward
        inputs = forward.inputs(x)
        gates = tf.ones((tf.shape(inputs[0])[0], forward.graph.channels))
        key = tf.stack([tf.constant(self.seed, tf.int32), self._counter.assign_add(1)])
        signs = tf.cast(2 * tf.random.stateless_uniform(tf.shape(gates), key, 0, 2, tf.int32) - 1, tf.float32)

        def gated(number: int, site: ReadSite, x: Any) -> Any:
            return x * tf.cast(site.along(x, tf.gather(gates, site.channels, axis=1)), x.dtype)

        with tf.GradientTape() as outer:
            outer.watch(gates)
            with tf.GradientTape() as inner:
                inner.watch(gates)
                outputs = forward.run(inputs, gated)
                loss = forward.loss(forward.objectives.summed, x, y, outputs, weight) * scale
            slope = tf.reduce_sum(inner.gradient(loss, gates) * signs)
        return signs * outer.gradient(slope, gates, unconnected_gradients=tf.UnconnectedGradients.ZERO) / scale
