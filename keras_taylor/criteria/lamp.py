"""LAMP: the share that a channel has in what is left of its layer when all smaller ones are gone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from keras_taylor.criteria._base import KernelCriterion, register_criterion
from keras_taylor.criteria._statistics import Array, Record


@register_criterion("lamp")
@dataclass(frozen=True)
class LAMP(KernelCriterion):
    """`s_k / sum of s_f over the channels f of the layer with s_f >= s_k`, with `s = sum of w^2`; needs no data.

    The largest channel of each layer scores 1, so that no layer is emptied.

    Args:
        members: `"filters"` measures the filters, as the paper does with single weights; `"group"` also gamma and the kernels
            that read the channel, as Torch-Pruning does.
        flops: as in `Taylor`.

    References:
        Lee et al. 2021, "Layer-adaptive Sparsity for the Magnitude-based Pruning", Eq. 4, for channels.

    Example:
        >>> import keras_taylor as kt
        >>> kt.criteria.LAMP().settings()
        {'members': 'filters', 'flops': 0.0}
    """

    members: str = "filters"
    flops: float = 0.0

    def measure(self, kernel: Array) -> Array:
        """The sum of the squares."""
        return (kernel**2).sum(axis=0)

    def init(self, channels: int, rng: np.random.Generator) -> Any:
        """Nothing measured yet, and no groups."""
        return super().init(channels, rng), ()

    def update(self, state: Any, record: Record) -> Any:
        """Measure, and remember the groups."""
        return super().update(state[0], record), record.groups

    def result(self, state: Any) -> Array:
        """The shares."""
        sizes, groups = state
        shares = np.zeros_like(sizes)
        for channels in groups:
            order = channels[np.argsort(sizes[channels], kind="stable")]
            left = np.cumsum(sizes[order][::-1])[::-1]
            shares[order] = sizes[order] / np.where(left > 0, left, 1.0)
        return shares
