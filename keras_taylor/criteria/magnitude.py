"""Minimum weight: the size of a channel's filter."""

from __future__ import annotations

from dataclasses import dataclass

from keras_taylor.criteria._base import KernelCriterion, register_criterion
from keras_taylor.criteria._statistics import Array


@register_criterion("magnitude")
@dataclass(frozen=True)
class Magnitude(KernelCriterion):
    """Mean of the squared weights of the filter, summed over tied producers; needs no data.

    Args:
        normalize: `"l2"` (default) or `"mean"` per layer, or None.
        flops: as in `Taylor`.

    References:
        Molchanov et al. 2017, section 2.2, "minimum weight": `(1/|w|) * sum of w^2`.

    Example:
        >>> import keras_taylor as kt
        >>> sorted(kt.criteria.Magnitude().needs)
        ['filters']
    """

    normalize: str | None = "l2"
    flops: float = 0.0

    def measure(self, kernel: Array) -> Array:
        """The mean of the squares."""
        return (kernel**2).mean(axis=0)
