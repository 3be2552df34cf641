"""A model with channels silenced, compiled once for every mask: what a pruned model would compute, without building it."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from keras_taylor._keras.batches import class_indices
from keras_taylor._keras.losses import applied, loss_of_each
from keras_taylor._keras.model import feed
from keras_taylor._keras.program import Call, infer
from keras_taylor._trace.graph import ChannelGraph
from keras_taylor._trace.read_sites import ReadSites


class Masked:
    """The losses and outputs of a model whose dropped channels are silenced where they are read.

    Args:
        graph: of a compiled model, unless `loss` is given.
        loss: a loss to use instead of the compiled one.
    """

    def __init__(self, graph: ChannelGraph, loss: Any = None) -> None:
        self.graph = graph
        self._sites = ReadSites(graph).by_call
        self._each = loss_of_each(graph.model, loss)
        self._run = tf.function(self._silenced, reduce_retracing=True)

    def __call__(self, x: Any, y: Any, keep: Any) -> tuple[NDArray[np.float64], Any]:
        """The loss of each example of a batch, and the (first) output; `keep` has shape `(channels,)`."""
        losses, output = self._run(tf.convert_to_tensor(x), tf.convert_to_tensor(y), tf.constant(np.asarray(keep, bool)))
        return losses.numpy().astype(float), output

    def evaluate(self, x: Any, y: Any, keep: Any, batch_size: int = 128) -> tuple[float, float]:
        """Mean loss and accuracy of a classifier with one output; `y` are classes, or one-hot."""
        losses, right = [], []
        classes = class_indices(y).ravel()
        for start in range(0, len(x), batch_size):
            rows = slice(start, start + batch_size)
            found, output = self(x[rows], y[rows], keep)
            losses.append(found)
            right.append(np.asarray(output).argmax(-1).ravel() == classes[rows])
        return float(np.concatenate(losses).mean()), float(np.concatenate(right).mean())

    def _silenced(self, x: Any, y: Any, keep: Any) -> tuple[Any, Any]:
        def call(step: Call, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            site = self._sites.get(id(step))
            if site is not None:
                args = (site.silence(args[0], tf.gather(keep, site.channels)), *args[1:])
            return infer(step, args, kwargs)

        model = self.graph.model
        outputs = self.graph.program.run(feed(model, x), call)
        return applied(self._each, model, x, y, outputs, None), outputs[0]
