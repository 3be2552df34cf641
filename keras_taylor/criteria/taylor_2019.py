"""Taylor 2019: the squared gradient of a batch with respect to a gate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from keras_taylor.criteria._base import Criterion, register_criterion
from keras_taylor.criteria._statistics import Array, Record


@register_criterion("taylor_2019")
@dataclass(frozen=True)
class Taylor2019(Criterion):
    """Mean over the batches of `(dLoss/d(gate))^2`, where the loss is the mean over the batch.

    Examples of opposite sign cancel within a batch, so the size of the batches matters.

    Args:
        normalize: `"l2"` or `"mean"` per layer; None is the paper.
        flops: as in `Taylor`.

    References:
        Molchanov et al. 2019, "Importance Estimation for Neural Network Pruning", Eq. 8 with gates ("Gate after BN").

    Example:
        >>> import keras_taylor as kt
        >>> kt.criteria.Taylor2019().by_batch
        True
    """

    normalize: str | None = None
    flops: float = 0.0

    needs = frozenset({"contribution"})
    by_batch = True

    def init(self, channels: int, rng: np.random.Generator) -> Any:
        """Sum, and number of batches."""
        return np.zeros(channels), 0

    def update(self, state: Any, record: Record) -> Any:
        """Add a batch."""
        total, batches = state
        return total + record.contribution.mean(axis=0) ** 2, batches + 1

    def result(self, state: Any) -> Array:
        """The mean over the batches."""
        total, batches = state
        return total / batches
