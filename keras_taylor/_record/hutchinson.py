"""Hutchinson's estimate of the diagonal of the Hessian with respect to gates."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from keras_taylor._keras.model import feed
from keras_taylor._keras.program import Call


class Hutchinson:
    """Hutchinson's estimate of the diagonal of the Hessian with respect to gates: `v * (H v)`, for random signs v.

    It differentiates twice, through gates that really multiply; every example has gates of its own.

    Args:
        recorder: whose model, loss and sites are used.
        draws: how many estimates are averaged.
        seed: for the signs.

    References:
        Hutchinson 1990, "A Stochastic Estimator of the Trace of the Influence Matrix for Laplacian Smoothing Splines".
    """

    def __init__(self, recorder: Any, draws: int, seed: int) -> None:
        self.recorder = recorder
        self.draws = draws
        self.seed = seed
        self._counter = tf.Variable(0, dtype=tf.int32, trainable=False)
        self._run = tf.function(self._measure, reduce_retracing=True)

    def __call__(self, x: Any, y: Any, weight: Any, scale: Any) -> dict[str, Any]:
        """The mean of all draws for one batch, shape `(batch, channels)`."""
        found = [self._run(x, y, weight, scale) for _ in range(self.draws)]
        return {"hutchinson": tf.add_n(found) / self.draws}

    def _measure(self, x: Any, y: Any, weight: Any, scale: Any) -> Any:
        recorder = self.recorder
        inputs = feed(recorder.source, x)
        gates = tf.ones((tf.shape(inputs[0])[0], recorder.graph.channels))
        key = tf.stack([tf.constant(self.seed, tf.int32), self._counter.assign_add(1)])
        signs = tf.cast(2 * tf.random.stateless_uniform(tf.shape(gates), key, 0, 2, tf.int32) - 1, tf.float32)

        def call(call: Call, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            site = recorder.sites.by_call.get(id(call))
            if site is not None:
                factors = site.along(args[0], tf.gather(gates, site.channels, axis=1))
                args = (args[0] * tf.cast(factors, args[0].dtype), *args[1:])
            return recorder.infer(call, args, kwargs)

        with tf.GradientTape() as outer:
            outer.watch(gates)
            with tf.GradientTape() as inner:
                inner.watch(gates)
                outputs = recorder.graph.program.run(inputs, call)
                loss = recorder._of_outputs(recorder.objectives.summed, x, y, outputs, weight) * scale
            slope = tf.reduce_sum(inner.gradient(loss, gates) * signs)
        return signs * outer.gradient(slope, gates, unconnected_gradients=tf.UnconnectedGradients.ZERO) / scale
