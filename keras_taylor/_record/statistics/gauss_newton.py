"""The Gauss-Newton diagonal with respect to gates: exactly what the second derivative is, where nets are piecewise linear."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from keras_taylor._keras.heads import TO_LOGITS, Logits
from keras_taylor._record.backward import Backward
from keras_taylor._record.statistics._base import BackwardStatistic, register_statistic
from keras_taylor._trace.graph import ChannelGraph
from keras_taylor._trace.read_sites import ReadSites
from keras_taylor.criteria._statistics import LOSS
from keras_taylor.errors import listed

# An eigenvalue of the loss's Hessian that is smaller than this, relative to the largest one, is rounding.
_NEGLIGIBLE = 1e-7


@register_statistic("gauss_newton")
class GaussNewton(BackwardStatistic):
    """Diagonal of the Gauss-Newton matrix of the loss with respect to the gates, exact.

    Where the net is piecewise linear it is d2Loss/d(gate)2. With t the logits of softmax and sigmoid outputs (other outputs as
    they are), H the Hessian of an example's loss with respect to t, and J the Jacobian of t with respect to the gates, it is
    the diagonal of `J' H J`. The eigenvectors of H turn that into one backward pass per eigenvalue that is not zero: for a
    softmax over K classes, K - 1 at most.

    References:
        Schraudolph 2002, "Fast Curvature Matrix-Vector Products for Second-Order Gradient Descent".
    """

    source = LOSS
    per_channel = True

    def caveats(self, graph: ChannelGraph, kinds: list[str]) -> list[str]:
        """Where it is not the second derivative, with names.

        The net must be piecewise linear in each gate. It is not if a layer is curved, nor if a channel is read, and what came
        of it meets the same channel again (the stream of a residual net): its gate then stands twice in one product.
        """
        again, curved, found = _read_again(graph), _curved(graph, kinds), []
        if again:
            found.append(
                "Gauss-Newton is the second derivative of the loss only for channels that are read once on each path. "
                f"Received: channels that are read again further down, in {listed(again, what='more layer groups')}. There it "
                "leaves out how their readers act on each other. Use curvature='hutchinson' to estimate the whole."
            )
        if curved:
            found.append(
                "Gauss-Newton is the second derivative of the loss only where the net is piecewise linear in inference. It is "
                f"not in {listed(curved, what='more layers')}: there it leaves out the curvature of these layers. Use "
                "curvature='hutchinson' to estimate the whole."
            )
        return found

    def target(self, back: Backward) -> Logits:
        """The logits."""
        return back.logits

    def measure(self, back: Backward, target: Logits) -> Any:
        """The diagonal, shape `(batch, channels)`."""
        sites = back.forward.sites
        hessian = _hessian(back, target)
        finite = tf.reduce_all(tf.math.is_finite(hessian), (1, 2), keepdims=True)
        values, vectors = tf.linalg.eigh(tf.where(finite, hessian, 0.0))  # which must not see NaN
        largest = tf.reduce_max(tf.abs(values), axis=0)
        order = tf.argsort(largest, direction="DESCENDING")
        count = tf.reduce_sum(tf.cast(largest > _NEGLIGIBLE * tf.reduce_max(largest), tf.int32))

        def add(number: Any, total: Any) -> tuple[Any, Any]:
            which = order[number]
            slope = sites.sums(back.slope(target.values, tf.gather(vectors, which, axis=2)))
            return number + 1, total + tf.gather(values, which, axis=1)[:, None] * slope**2

        start = tf.zeros((tf.shape(target.values)[0], sites.channels))
        _, total = tf.while_loop(lambda number, _: number < count, add, (tf.constant(0), start), parallel_iterations=1)
        return tf.where(finite[:, 0], total, float("nan"))


def _hessian(back: Backward, logits: Logits) -> Any:
    """The Hessian of each example's loss with respect to its logits, shape `(batch, D, D)`."""
    point = tf.stop_gradient(logits.values)
    zero = tf.UnconnectedGradients.ZERO
    with tf.GradientTape() as outer:
        outer.watch(point)
        with tf.GradientTape() as inner:
            inner.watch(point)
            loss = back.loss(back.forward.objectives.summed, logits.to_outputs(point))
        slope = inner.gradient(loss, point, unconnected_gradients=zero)
    hessian = outer.batch_jacobian(slope, point, unconnected_gradients=zero, parallel_iterations=1, experimental_use_pfor=False)
    return (hessian + tf.transpose(hessian, (0, 2, 1))) / 2


def _curved(graph: ChannelGraph, kinds: list[str]) -> list[str]:
    """The layers that are not piecewise linear, but for the softmax or sigmoid of an output."""
    outputs = {tensor.index: kind for tensor, kind in zip(graph.program.outputs, kinds, strict=True)}
    return [
        f"{step.call.name} ({type(step.call.operation).__name__})"
        for step in graph.steps
        if outputs.get(step.call.outputs[0].index) not in TO_LOGITS and not step.rule.piecewise_linear(step.call)
    ]


def _read_again(graph: ChannelGraph) -> list[str]:
    """Layer groups with free channels that two sites read, one of them downstream of the other."""
    sites = ReadSites(graph)
    above: dict[int, frozenset[int]] = {}
    again = np.zeros(graph.channels, bool)
    for call in graph.program.calls:
        found = frozenset[int]().union(*(above.get(tensor.index, frozenset()) for tensor in call.inputs))
        site = sites.by_call.get(id(call))
        if site is not None:
            for other in found:
                again[np.intersect1d(site.channels, sites.by_call[other].channels)] = True
            found |= {id(call)}
        above.update((tensor.index, found) for tensor in call.outputs)
    return [group.name for group in graph.groups if (again & (graph.locks == ""))[group.channels].any()]
