"""Mean activation."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from keras_taylor._record.statistics._base import Columns, ReadStatistic, register_statistic
from keras_taylor._record.statistics._moments import mean, with_count
from keras_taylor._trace.read_sites import ReadSites
from keras_taylor.criteria._statistics import Array


@register_statistic("activation")
class MeanActivation(ReadStatistic):
    """Mean of the channel's activations."""

    def at_site(self, values: Any) -> Columns:
        """The mean over positions."""
        return with_count(values, activation=tf.reduce_mean(values, 1))

    def from_batch(self, columns: Columns, sites: ReadSites, y: Any) -> Array:
        """The mean over all that is read."""
        return mean(columns, sites, columns["activation"].astype(float))

    def example(self, rng: np.random.Generator, examples: int, channels: int) -> Array:
        """Of either sign."""
        return rng.normal(size=(examples, channels))
