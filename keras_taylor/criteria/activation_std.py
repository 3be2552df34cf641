"""Standard deviation of the activations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from keras_taylor.criteria._base import Criterion, register_criterion
from keras_taylor.criteria._statistics import Array, Record


@register_criterion("activation_std")
@dataclass(frozen=True)
class ActivationStd(Criterion):
    """Standard deviation of a channel's activations over examples and positions; needs data, but no labels.

    Args:
        normalize: `"l2"` (default) or `"mean"` per layer, or None.
        flops: as in `Taylor`.

    References:
        Molchanov et al. 2017, section 2.2, "activation": `sqrt((1/|a|) * sum of (a - mean)^2)`.

    Example:
        >>> import keras_taylor as kt
        >>> sorted(kt.criteria.ActivationStd().needs)
        ['activation', 'variance']
    """

    normalize: str | None = "l2"
    flops: float = 0.0

    needs = frozenset({"activation", "variance"})

    def init(self, channels: int, rng: np.random.Generator) -> Any:
        """Examples; mean; sum of squared deviations of examples' means; sum of variances within examples."""
        return 0, np.zeros(channels), np.zeros(channels), np.zeros(channels)

    def update(self, state: Any, record: Record) -> Any:
        """Add a batch: deviations of two parts, and between their means, make those of the whole."""
        examples, mean, between, within = state
        count = len(record.activation)
        step = record.activation.mean(axis=0) - mean
        share = count / (examples + count)
        between = between + record.activation.var(axis=0) * count + step**2 * examples * share
        return examples + count, mean + step * share, between, within + record.variance.sum(axis=0)

    def result(self, state: Any) -> Array:
        """The root of the variance within examples plus that between them."""
        examples, _, between, within = state
        return np.sqrt((between + within) / examples)
