"""Share of zeros."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from keras_taylor._record.statistics._base import Columns, ReadStatistic, register_statistic
from keras_taylor._record.statistics._moments import mean, with_count
from keras_taylor._trace.read_sites import ReadSites
from keras_taylor.criteria._statistics import Array


@register_statistic("zeros")
class ShareOfZeros(ReadStatistic):
    """Share of the channel's activations that are zero."""

    def at_site(self, values: Any) -> Columns:
        """The share of the positions."""
        return with_count(values, zeros=tf.reduce_mean(tf.cast(values == 0, tf.float32), 1))

    def from_batch(self, columns: Columns, sites: ReadSites, y: Any) -> Array:
        """The share of all that is read."""
        return mean(columns, sites, columns["zeros"])

    def example(self, rng: np.random.Generator, examples: int, channels: int) -> Array:
        """Between 0 and 1."""
        return rng.random((examples, channels))
