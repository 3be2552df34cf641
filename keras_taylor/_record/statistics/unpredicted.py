"""What remains of contributions once channels are predicted from each other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from keras_taylor._record.statistics._base import FittedStatistic, SiteFit, register_statistic
from keras_taylor._trace.read_sites import ReadSite
from keras_taylor.criteria._statistics import Array

RIDGE = 1e-3
"""Relative to the variance of each channel; that of the least-squares repair, which does the predicting in the end."""

_CONSTANT = 1e-10
"""A variance below this share of the mean square is rounding."""


@register_statistic("unpredicted")
class UnpredictedContribution(FittedStatistic):
    """The contribution of what other channels do not predict: the sum over positions and members of residual times gradient.

    The residual is that of a ridge regression of the channel on a constant and on the other channels that are read with it, at
    the same position of the map. Every site has a regression of its own, over all examples and positions, which takes a first
    pass over the data, and keeps a matrix of float64, channels by channels.
    """

    probe = "unpredicted"

    def fit_at(self, site: ReadSite) -> SiteFit:
        """The regressions of one site."""
        return _Regressions(site)

    def example(self, rng: np.random.Generator, examples: int, channels: int) -> Array:
        """Of either sign."""
        return rng.normal(size=(examples, channels))


class _Regressions(SiteFit):
    """Of every channel of a site on the others.

    A flattened map is read as a map: channels that are read equally often predict each other, position by position.
    """

    def __init__(self, site: ReadSite) -> None:
        self._places = _places(site)
        self._back = np.argsort(np.concatenate([one.ravel() for one in self._places]))
        self._means = [tf.Variable(tf.zeros(one.shape[1]), trainable=False) for one in self._places]
        self._residuals = [tf.Variable(tf.zeros((one.shape[1],) * 2), trainable=False) for one in self._places]

    def sums(self, values: Any) -> list[Any]:
        """Second moments of the channels and of a one."""
        found = []
        for places in self._places:
            rows = tf.reshape(tf.cast(_read(values, places), tf.float64), (-1, places.shape[1]))
            rows = tf.concat([rows, tf.ones_like(rows[:, :1])], 1)
            found.append(tf.matmul(rows, rows, transpose_a=True))
        return found

    def solve(self, sums: Sequence[NDArray[Any]]) -> None:
        """The matrices that take channels, less their means, to what the others do not predict of them."""
        for mean, residual, moments in zip(self._means, self._residuals, sums, strict=True):
            middle, matrix = _residual(moments)
            mean.assign(middle.astype(np.float32))
            residual.assign(matrix.T.astype(np.float32))

    def at_position(self, activation: Any, gradient: Any) -> Any:
        """Residual times gradient."""
        found = []
        for places, mean, residual in zip(self._places, self._means, self._residuals, strict=True):
            left = tf.matmul(_read(activation, places) - mean, residual) * _read(gradient, places)
            found.append(tf.reshape(left, (tf.shape(left)[0], -1, places.size)))
        return tf.gather(tf.concat(found, 2), self._back, axis=2)


def _places(site: ReadSite) -> list[NDArray[np.int64]]:
    """Where on the axis channels are, shape `(occurrences, channels)`: an array for those that occur equally often."""
    _, inverse, counts = np.unique(site.channels, return_inverse=True, return_counts=True)
    order, first = np.argsort(inverse, kind="stable"), np.cumsum(counts) - counts
    return [order[first[counts == count] + np.arange(count)[:, None]] for count in np.unique(counts)]


def _read(values: Any, places: NDArray[np.int64]) -> Any:
    """Values at these places, shape `(batch, positions of the map, *places.shape)`."""
    taken = values if np.array_equal(places.ravel(), np.arange(values.shape[2])) else tf.gather(values, places.ravel(), axis=2)
    return tf.reshape(taken, (tf.shape(values)[0], -1, *places.shape))


def _residual(moments: NDArray[np.float64]) -> tuple[Array, Array]:
    """Means, and the matrix R with residuals `r = R (z - mean)`, from the second moments of z and of a one.

    The regression of a channel on all others is a row of the inverse of the moments, divided by its diagonal.
    """
    count, mean = moments[-1, -1], moments[-1, :-1] / moments[-1, -1]
    covariance = moments[:-1, :-1] / count - np.outer(mean, mean)
    constant = np.diag(covariance) <= _CONSTANT * np.diag(moments)[:-1] / count
    size = np.sqrt(np.where(constant, 1.0, np.diag(covariance)))
    alike = np.where(constant | constant[:, None], 0.0, covariance / np.outer(size, size))
    inverse = np.linalg.inv(alike + RIDGE * np.eye(len(alike)))
    residual = inverse * size[:, None] / np.outer(np.diag(inverse), size)
    return mean, np.where(constant[:, None], 0.0, residual)
