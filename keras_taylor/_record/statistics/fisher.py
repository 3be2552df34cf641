"""The Fisher information of gates, from labels that the model draws."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_taylor._keras.heads import LIKELIHOODS
from keras_taylor._record.backward import Backward
from keras_taylor._record.statistics._base import BackwardStatistic, Columns, register_statistic
from keras_taylor._trace.graph import ChannelGraph
from keras_taylor._trace.read_sites import ReadSites
from keras_taylor.criteria._statistics import Array
from keras_taylor.errors import BadInput


@register_statistic("fisher")
class FisherInformation(BackwardStatistic):
    """An unbiased estimate of `gauss_newton` for softmax and sigmoid outputs, from labels drawn from the predictions.

    One backward pass per draw: the mean of the squared contributions.
    """

    draws_labels = True

    def caveats(self, graph: ChannelGraph, kinds: list[str]) -> list[str]:
        """Of outputs that are no probabilities."""
        if set(kinds) <= LIKELIHOODS:
            return []
        return [
            "Fisher information takes an output that is neither softmax nor sigmoid as Gaussian with unit variance. "
            f"Received: outputs that are {', '.join(kinds)}. Where the scale matters, use curvature='gauss_newton'."
        ]

    def target(self, back: Backward) -> list[Any]:
        """A loss for every draw."""
        return [back.sampled_loss() for _ in range(back.draws)]

    def measure(self, back: Backward, target: list[Any]) -> Any:
        """Contributions, times the roots of the sample weights; shape `(batch, draws, columns)`."""
        root = tf.sqrt(_flat_weight(back.weight)) if back.weight is not None else 1.0
        return tf.stack([back.slope(one) * root for one in target], 1)

    def from_batch(self, columns: Columns, sites: ReadSites, y: Any) -> Array:
        """The mean over the draws of the squares."""
        draws = np.moveaxis(columns[self.name], 1, 0)
        return np.asarray(sum(sites.to_channels(draw) ** 2 for draw in draws) / len(draws))


def _flat_weight(weight: Any) -> Any:
    parts = keras.tree.flatten(weight)
    if len(parts) > 1:
        raise BadInput("sample_weight must be one array for the Fisher information. Received: one for each output.")
    return tf.reshape(tf.cast(parts[0], tf.float32), (-1, 1))
