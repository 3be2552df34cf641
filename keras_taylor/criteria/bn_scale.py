"""BatchNorm scale: the factor that a channel is multiplied with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from keras_taylor.criteria._base import Criterion, register_criterion
from keras_taylor.criteria._statistics import Array, Record


@register_criterion("bn_scale")
@dataclass(frozen=True)
class BatchNormScale(Criterion):
    """`|gamma|`, averaged over the normalisations that the channel passes; needs no data.

    It says nothing about a channel without a scale: `kt.score` raises if such a channel may be removed.

    Args:
        normalize: `"mean"` (Torch-Pruning), `"l2"` or None (the paper) per layer.
        flops: as in `Taylor`.

    References:
        Liu et al. 2017, "Learning Efficient Convolutional Networks through Network Slimming", section 3.

    Example:
        >>> import keras_taylor as kt
        >>> sorted(kt.criteria.BatchNormScale().needs)
        ['scales']
    """

    normalize: str | None = None
    flops: float = 0.0

    needs = frozenset({"scales"})

    def init(self, channels: int, rng: np.random.Generator) -> Any:
        """Sum, and number of scales."""
        return np.zeros(channels), np.zeros(channels)

    def update(self, state: Any, record: Record) -> Any:
        """Add all scales."""
        total, count = state
        for part in record.scales:
            total = total + np.bincount(part.channels, np.abs(part.kernel[0]), record.channels)
            count = count + np.bincount(part.channels, minlength=record.channels)
        return total, count

    def result(self, state: Any) -> Array:
        """The mean; NaN without a scale."""
        total, count = state
        return np.where(count > 0, total / np.maximum(count, 1), np.nan)
