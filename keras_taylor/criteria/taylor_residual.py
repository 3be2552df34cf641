"""First-order Taylor of what repair cannot restore."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from keras_taylor.criteria._base import MeanOverExamples, register_criterion
from keras_taylor.criteria._statistics import Array, Record


@register_criterion("taylor_residual")
@dataclass(frozen=True)
class TaylorResidual(MeanOverExamples):
    """`taylor_gate` of the residual: mean over the examples of `|sum over positions of r * gradient|`.

    `r_c = z_c - b_c - sum_k B_ck z_k` is what the other channels k that are read at the same place, and a constant, do not
    predict of channel c, by ridge regression. A least-squares repair refits what reads the channels, so it can restore the
    rest. Members of tied channels have a regression each, and are summed with sign, as by `taylor_gate`. Repair has more to
    predict from than this: all positions of a window, and of a flattened map.

    It takes all other channels for granted: of two that are alike, neither seems to be worth anything, and both may go. In one
    step a ResNet-20 kept less by it after repair than by `taylor_gate` (docs/results/repair.md), so this is for experiments.
    Removing in several steps (`kt.Schedule`) scores anew what is left.

    The data are read twice, the first time forward alone; an iterator's batches are kept for that. Each layer that reads K
    channels takes about 30 K^2 bytes more, and K^2 multiplications per position in each pass.

    Args:
        normalize: `"l2"` or `"mean"` per layer, or None.
        flops: as in `Taylor`.

    References:
        Molchanov et al. 2017, Eq. 7, applied to a residual; the idea is this package's own.

    Example:
        >>> import keras_taylor as kt
        >>> sorted(kt.criteria.TaylorResidual().needs)
        ['unpredicted']
    """

    normalize: str | None = None
    flops: float = 0.0

    needs = frozenset({"unpredicted"})

    def each(self, record: Record) -> Array:
        """The size of the contribution in each example."""
        return np.abs(record.unpredicted)
