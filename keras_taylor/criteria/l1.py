"""L1 norm of a channel's filter."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from keras_taylor.criteria._base import KernelCriterion, register_criterion
from keras_taylor.criteria._statistics import Array


@register_criterion("l1")
@dataclass(frozen=True)
class L1(KernelCriterion):
    """`sum of |w|` over the filter, summed over tied producers, divided by the mean of its layer; needs no data.

    Args:
        members: `"filters"` is the paper; `"group"` adds `|gamma|` of the normalisations and the L1 norms of the kernels that
            read the channel, which is Torch-Pruning's `GroupNormImportance(p=1)`.
        normalize: `"mean"` (Torch-Pruning), `"l2"` or None (the paper, which prunes every layer by itself).
        flops: as in `Taylor`.

    References:
        Li et al. 2017, "Pruning Filters for Efficient ConvNets", section 3.1.

    Example:
        >>> import keras_taylor as kt
        >>> kt.criteria.L1(members="group").settings()
        {'members': 'group', 'normalize': 'mean', 'flops': 0.0}
    """

    members: str = "filters"
    normalize: str | None = "mean"
    flops: float = 0.0

    def measure(self, kernel: Array) -> Array:
        """The sum of the absolute values."""
        return np.abs(kernel).sum(axis=0)
