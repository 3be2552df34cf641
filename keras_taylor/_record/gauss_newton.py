"""Second derivatives of the loss with respect to gates: exactly, by Gauss-Newton, and by Hutchinson's estimate."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from keras_taylor._keras.heads import NATURAL, LogitSpace
from keras_taylor._trace.graph import ChannelGraph
from keras_taylor._trace.read_sites import ReadSites

# An eigenvalue of the loss's Hessian that is smaller than this, relative to the largest one, is rounding.
_NEGLIGIBLE = 1e-7


class GaussNewton:
    """The Gauss-Newton diagonal with respect to gates.

    With natural outputs t (logits of softmax and sigmoid outputs, the outputs themselves otherwise), H the Hessian of an
    example's loss with respect to t, and J the Jacobian of t with respect to the gates, it is the diagonal of `J' H J`. The
    eigenvectors of H turn that into one backward pass per eigenvalue that is not zero: for a softmax over K classes, K - 1 at
    most.

    Args:
        outputs: the natural outputs.
        sites: where channels are read.

    References:
        Schraudolph 2002, "Fast GaussNewton Matrix-Vector Products for Second-Order Gradient Descent".
    """

    def __init__(self, outputs: LogitSpace, sites: ReadSites) -> None:
        self.outputs = outputs
        self.sites = sites

    def gauss_newton(
        self, tape: Any, natural: Any, probes: list[Any], objective: Callable[[list[Any]], Any], scale: Any
    ) -> Any:
        """The diagonal, shape `(batch, channels)`.

        Args:
            tape: a persistent tape that has recorded how `natural` depends on `probes`.
            natural: the natural outputs.
            probes: one for each site.
            objective: the loss, summed over the examples, of a list of outputs.
            scale: factor that keeps gradients of half precision from underflow.
        """
        hessian = self._hessian(natural, objective)
        finite = tf.reduce_all(tf.math.is_finite(hessian), (1, 2), keepdims=True)
        values, vectors = tf.linalg.eigh(tf.where(finite, hessian, 0.0))  # which must not see NaN
        largest = tf.reduce_max(tf.abs(values), axis=0)
        order = tf.argsort(largest, direction="DESCENDING")
        count = tf.reduce_sum(tf.cast(largest > _NEGLIGIBLE * tf.reduce_max(largest), tf.int32))

        def add(number: Any, total: Any) -> tuple[Any, Any]:
            which = order[number]
            along = tf.gather(vectors, which, axis=2)
            found = tape.gradient(natural, probes, along * scale, unconnected_gradients=tf.UnconnectedGradients.ZERO)
            slope = self.sites.sums(tf.concat(found, 1)) / scale
            return number + 1, total + tf.gather(values, which, axis=1)[:, None] * slope**2

        start = tf.zeros((tf.shape(natural)[0], self.sites.channels))
        _, total = tf.while_loop(lambda number, _: number < count, add, (tf.constant(0), start), parallel_iterations=1)
        return tf.where(finite[:, 0], total, float("nan"))

    def _hessian(self, natural: Any, objective: Callable[[list[Any]], Any]) -> Any:
        """Of each example's loss with respect to its natural outputs, shape `(batch, D, D)`."""
        point = tf.stop_gradient(natural)
        zero = tf.UnconnectedGradients.ZERO
        with tf.GradientTape() as outer:
            outer.watch(point)
            with tf.GradientTape() as inner:
                inner.watch(point)
                loss = objective(self.outputs.to_outputs(point))
            slope = inner.gradient(loss, point, unconnected_gradients=zero)
        hessian = outer.batch_jacobian(
            slope, point, unconnected_gradients=zero, parallel_iterations=1, experimental_use_pfor=False
        )
        return (hessian + tf.transpose(hessian, (0, 2, 1))) / 2


def warn_where_bent(graph: ChannelGraph, kinds: list[str]) -> None:
    """Warn, with names, where Gauss-Newton is not the second derivative.

    The net must be piecewise linear in each gate. It is not if a layer bends, nor if a channel is read, and what came of it is
    met by the same channel again (the stream of a residual net): its gate then stands twice in one product.
    """
    outputs = {tensor.index: kind for tensor, kind in zip(graph.program.outputs, kinds, strict=True)}
    bent = []
    for step in graph.steps:
        kind = outputs.get(step.call.outputs[0].index)
        if kind not in NATURAL and not step.rule.piecewise_linear(step.call):
            bent.append(f"{step.call.name} ({type(step.call.operation).__name__})")
    again = _read_again(graph)
    if again:
        warnings.warn(
            "Gauss-Newton is the second derivative of the loss only for channels that are read once on each path. Received: "
            f"channels that are read again further down, in {', '.join(again[:5])}"
            f"{f' and {len(again) - 5} more layer groups' if len(again) > 5 else ''}. There it leaves out how their readers "
            "act on each other. Use curvature='hutchinson' to estimate the whole.",
            stacklevel=4,
        )
    if bent:
        warnings.warn(
            "Gauss-Newton is the second derivative of the loss only where the net is piecewise linear in inference. It is not "
            f"in {', '.join(bent[:5])}{f' and {len(bent) - 5} more layers' if len(bent) > 5 else ''}: there it leaves out how "
            "these layers bend. Use curvature='hutchinson' to estimate the whole.",
            stacklevel=4,
        )


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
