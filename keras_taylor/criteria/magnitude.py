"""Minimum weight: the size of a channel's filter."""

from __future__ import annotations

import numpy as np

from keras_taylor.criteria._base import Array, Criterion, Record, register_criterion


@register_criterion("magnitude")
class Magnitude(Criterion):
    """Mean of the squared weights of the filter, summed over tied producers; needs no data.

    Args:
        normalize: `"l2"` per layer (default) or None.
        flops: as in `Taylor`.

    References:
        Molchanov et al. 2017, section 2.2, "minimum weight": `(1/|w|) * sum of w^2`.

    Example:
        >>> import keras_taylor as kt
        >>> kt.criteria.Magnitude().needs
        frozenset({'filters'})
    """

    needs = frozenset({"filters"})

    def __init__(self, normalize: str | None = "l2", flops: float = 0.0) -> None:
        self.check_options(normalize, flops)
        self.normalize = normalize
        self.flops = flops

    def init(self, channels: int, rng: np.random.Generator) -> Array:
        """No filter seen yet."""
        return np.zeros(channels)

    def update(self, state: Array, record: Record) -> Array:
        """Add the filters of every producer."""
        for filters in record.filters:
            state = state + np.bincount(filters.channels, (filters.kernel**2).mean(axis=0), record.channels)
        return state

    def result(self, state: Array) -> Array:
        """The sum over tied producers."""
        return state
