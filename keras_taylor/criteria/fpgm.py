"""FPGM: the distance of a channel's filter from the other filters of its layer."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from keras_taylor.criteria._base import KernelCriterion, register_criterion
from keras_taylor.criteria._statistics import Array


@register_criterion("fpgm")
@dataclass(frozen=True)
class FPGM(KernelCriterion):
    """`sum over f of |w_k - w_f|`: filters near the geometric median can be replaced by the others; needs no data.

    The distance is the Euclidean one. Distances of tied producers are added.

    Args:
        members: `"filters"` is the paper; `"group"` also compares the kernels that read the channels, as Torch-Pruning does.
        normalize: `"mean"` (Torch-Pruning), `"l2"` or None (the paper, which prunes every layer by itself).
        flops: as in `Taylor`.

    References:
        He et al. 2019, "Filter Pruning via Geometric Median for Deep Convolutional Neural Networks Acceleration", Eq. 6.

    Example:
        >>> import numpy as np, keras_taylor as kt
        >>> kt.criteria.FPGM().measure(np.array([[0.0, 3.0, 0.0], [0.0, 4.0, 1.0]])).round(2)
        array([6.  , 9.24, 5.24])
    """

    members: str = "filters"
    normalize: str | None = "mean"
    flops: float = 0.0

    def measure(self, kernel: Array) -> Array:
        """The sum of the distances to the other columns."""
        squares = (kernel**2).sum(axis=0)
        distances = squares[:, None] + squares[None, :] - 2 * kernel.T @ kernel
        np.fill_diagonal(distances, 0.0)
        return np.sqrt(np.maximum(distances, 0.0)).sum(axis=0)
