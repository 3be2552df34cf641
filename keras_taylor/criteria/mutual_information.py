"""Mutual information between a channel's activation and the label."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from keras_taylor.criteria._base import Criterion, register_criterion
from keras_taylor.criteria._statistics import Array, Record
from keras_taylor.errors import whole_number


@register_criterion("mutual_information")
@dataclass(frozen=True)
class MutualInformation(Criterion):
    """Information gain `H(x) + H(y) - H(x, y)` in nats, with x the quantised mean activation and y the class of an example.

    Activations of each channel are quantised into bins that hold equally many examples (fewer bins where values coincide). It
    keeps one number for each example and channel.

    Args:
        bins: how many; with few examples, more bins make all channels look informative.
        normalize: `"l2"` (default) or `"mean"` per layer, or None.
        flops: as in `Taylor`.

    References:
        Molchanov et al. 2017, section 2.2, "mutual information"; the paper does not say how it quantises.

    Example:
        >>> import keras_taylor as kt
        >>> sorted(kt.criteria.MutualInformation(bins=4).needs)
        ['activation', 'labels']
    """

    bins: int = 8
    normalize: str | None = "l2"
    flops: float = 0.0

    needs = frozenset({"activation", "labels"})

    def __post_init__(self) -> None:
        super().__post_init__()
        whole_number("bins of MutualInformation", self.bins, least=2)

    def init(self, channels: int, rng: np.random.Generator) -> Any:
        """No activations and labels yet."""
        return ()

    def update(self, state: Any, record: Record) -> Any:
        """Keep a batch."""
        return (*state, (record.activation.astype(np.float32), record.labels))

    def result(self, state: Any) -> Array:
        """The information gain of each channel."""
        activation = np.concatenate([part for part, _ in state])
        names, classes = np.unique(np.concatenate([part for _, part in state]), return_inverse=True)
        cuts = np.quantile(activation, np.arange(1, self.bins) / self.bins, axis=0)
        bins = sum((activation > cut).astype(np.int64) for cut in cuts)
        channels = activation.shape[1]
        cells = (np.arange(channels) * self.bins + bins) * len(names) + classes[:, None]
        counts = np.bincount(cells.ravel(), minlength=channels * self.bins * len(names))
        share = counts.reshape(channels, self.bins, len(names)) / len(activation)
        return _entropy(share.sum(2)) + _entropy(share.sum(1)) - _entropy(share.reshape(channels, -1))


def _entropy(share: Array) -> Array:
    """The entropy of each row, in nats."""
    return -(share * np.log(np.where(share > 0, share, 1.0))).sum(axis=1)
