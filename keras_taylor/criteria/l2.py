"""L2 norm of a channel's filter."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from keras_taylor.criteria._base import KernelCriterion, register_criterion
from keras_taylor.criteria._statistics import Array


@register_criterion("l2")
@dataclass(frozen=True)
class L2(KernelCriterion):
    """`sqrt(sum of w^2)` over the filter; tied producers count as one long filter; needs no data.

    Args:
        members: `"filters"` is the paper; `"group"` adds the squares of gamma and of the kernels that read the channel. That is
            Torch-Pruning's `GroupNormImportance(p=2)`, which leaves the root out.
        root: whether to take the root.
        normalize: `"mean"` (Torch-Pruning), `"l2"` or None (the paper, which prunes every layer by itself).
        flops: as in `Taylor`.

    References:
        He et al. 2018, "Soft Filter Pruning for Accelerating Deep Convolutional Neural Networks", Eq. 2.

    Example:
        >>> import keras_taylor as kt
        >>> kt.criteria.L2(members="group", root=False).name
        'l2'
    """

    members: str = "filters"
    root: bool = True
    normalize: str | None = "mean"
    flops: float = 0.0

    def measure(self, kernel: Array) -> Array:
        """The sum of the squares."""
        return (kernel**2).sum(axis=0)

    def result(self, state: Array) -> Array:
        """The root of the sum over the members, if asked."""
        return np.sqrt(state) if self.root else state
