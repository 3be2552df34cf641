"""Variance of activations."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from keras_taylor._record.statistics._base import Columns, ReadStatistic, register_statistic
from keras_taylor._record.statistics._moments import mean, with_count
from keras_taylor._trace.read_sites import ReadSites
from keras_taylor.criteria._statistics import Array


@register_statistic("variance")
class ActivationVariance(ReadStatistic):
    """Variance of the channel's activations within the example."""

    def at_site(self, values: Any) -> Columns:
        """Mean and variance over positions."""
        middle = tf.reduce_mean(values, 1)
        return with_count(values, activation=middle, variance=tf.reduce_mean((values - middle[:, None]) ** 2, 1))

    def from_batch(self, columns: Columns, sites: ReadSites, y: Any) -> Array:
        """The variance within columns, and that between their means."""
        middle = columns["activation"].astype(float)
        apart = (middle - mean(columns, sites, middle)[:, sites.columns]) ** 2
        return mean(columns, sites, columns["variance"] + apart)
