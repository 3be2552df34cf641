"""A model with channels silenced, compiled once for every mask: what a pruned model would compute, without building it."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from keras_taylor._keras.batches import class_indices
from keras_taylor._keras.losses import loss_of_each
from keras_taylor._keras.model import feed, pack_outputs
from keras_taylor._keras.program import Call, functional, infer
from keras_taylor._trace.graph import ChannelGraph, trace
from keras_taylor._trace.read_sites import ReadSites


class Masked:
    """The losses and outputs of a model whose dropped channels are silenced where they are read.

    Args:
        model: a compiled model, unless `loss` is given.
        graph: its graph.
        loss: a loss to use instead of the compiled one.
    """

    def __init__(self, model: Any, graph: ChannelGraph | None = None, loss: Any = None) -> None:
        self.graph = graph or trace(model)
        self._sites = ReadSites(self.graph).by_call
        self._source = functional(model)
        self._each = loss_of_each(model, loss)
        self._run = tf.function(self._silenced, reduce_retracing=True)

    def __call__(self, x: Any, y: Any, keep: Any) -> tuple[NDArray[np.float64], Any]:
        """The loss of each example, and the outputs, of one batch; `keep` has shape `(channels,)`."""
        losses, outputs = self._run(tf.convert_to_tensor(x), tf.convert_to_tensor(y), tf.constant(np.asarray(keep, bool)))
        return losses.numpy().astype(float), outputs

    def evaluate(self, x: Any, y: Any, keep: Any, batch_size: int = 128) -> tuple[float, float]:
        """Mean loss and accuracy of a classifier with one output; `y` are classes, or one-hot."""
        losses, right = [], []
        classes = class_indices(y).ravel()
        for start in range(0, len(x), batch_size):
            rows = slice(start, start + batch_size)
            found, outputs = self(x[rows], y[rows], keep)
            losses.append(found)
            right.append(np.asarray(outputs).argmax(-1).ravel() == classes[rows])
        return float(np.concatenate(losses).mean()), float(np.concatenate(right).mean())

    def _silenced(self, x: Any, y: Any, keep: Any) -> tuple[Any, Any]:
        def call(step: Call, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            site = self._sites.get(id(step))
            if site is not None:
                shape = [1] * len(args[0].shape)
                shape[site.axis] = -1
                kept = tf.reshape(tf.gather(keep, site.channels), shape)
                # where, not multiply: a silenced channel may be infinite
                args = (tf.where(kept, args[0], tf.zeros((), args[0].dtype)), *args[1:])
            return infer(step, args, kwargs)

        found = self.graph.program.run(feed(self._source, x), call)
        y_pred = pack_outputs(self._source, found)
        if isinstance(y_pred, list) and len(y_pred) == 1:
            y_pred = y_pred[0]
        return tf.cast(self._each(x, y, y_pred, None), tf.float32), y_pred
