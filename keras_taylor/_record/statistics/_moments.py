"""Means over all values that are read of a channel: each counts once, whichever column it is in."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from keras_taylor._record.statistics._base import Columns
from keras_taylor._trace.read_sites import ReadSites
from keras_taylor.criteria._statistics import Array

COUNT = "count"
"""How many values each column stands for."""


def with_count(values: Any, **columns: Any) -> Columns:
    """These columns of one site, and how many values they stand for."""
    size = tf.cast(tf.shape(values)[1], tf.float32)
    return {COUNT: tf.fill((tf.shape(values)[0], values.shape[-1]), size), **columns}


def mean(columns: Columns, sites: ReadSites, of_columns: Any) -> Array:
    """The mean over a channel's values, from the means of its columns; shape `(batch, channels)`."""
    count = columns[COUNT].astype(float)
    return np.asarray(sites.to_channels(of_columns * count) / np.maximum(sites.to_channels(count), 1.0))
