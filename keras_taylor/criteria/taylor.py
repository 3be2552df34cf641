"""First-order Taylor: how much the loss changes, to first order, when a channel is silenced."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from keras_taylor.criteria._base import MeanOverExamples, normalized, register_criterion
from keras_taylor.criteria._statistics import Array, Record


@register_criterion("taylor")
@dataclass(frozen=True)
class Taylor(MeanOverExamples):
    """Mean over the examples of `|(1/M) * sum over positions of activation * gradient|`, l2-normalised per layer.

    The absolute value stands outside the sum over positions and inside the mean over examples, as in the paper. Tied channels
    are silenced together, so their members are summed, with sign, before the absolute value.

    Args:
        spatial: `"mean"` divides by M, the size of the channel's map, as in the paper; `"sum"` does not, which makes the
            score dLoss/d(gate), comparable between layers without normalisation.
        normalize: `"l2"` (the paper) or `"mean"` per layer, or None.
        flops: the paper's lambda: what a million FLOPs of the map take off the score (1e-3 there). It regularises the plain
            order of scores (`kt.plan(rank="score")`); ranking per saving accounts for cost by itself.
        aggregate: where the absolute value stands. `"eq8"` is the paper. `"nvlabs"` is what the authors' code of 2019 calls the
            criterion of 2017: inside the sum over positions, and every batch is l2-normalised per layer before the batches are
            averaged (`normalize` is ignored). `"jacobgil"` is the much-used pytorch-pruning: a signed mean over positions and
            examples, and the absolute value at the end. (It looks before the ReLU, where the product is the same.)
        tied: `"signed"` sums the members of tied channels with sign, per example; `"absolute"` sums their absolute values, as
            others do. With `aggregate="eq8"` only.

    References:
        Molchanov et al. 2017, "Pruning Convolutional Neural Networks for Resource Efficient Inference", Eq. 8 (score),
        section 2.2 (normalisation), Eq. 9 (FLOPs). github.com/NVlabs/Taylor_pruning (method 6);
        github.com/jacobgil/pytorch-pruning.

    Example:
        >>> import keras_taylor as kt
        >>> kt.criteria.Taylor(spatial="sum", normalize=None).settings()
        {'spatial': 'sum', 'normalize': None, 'flops': 0.0, 'aggregate': 'eq8', 'tied': 'signed'}
    """

    spatial: str = "mean"
    normalize: str | None = "l2"
    flops: float = 0.0
    aggregate: str = "eq8"
    tied: str = "signed"

    needs = frozenset({"contribution"})

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_option("spatial", ("mean", "sum"))
        self.check_option("aggregate", ("eq8", "nvlabs", "jacobgil"))
        self.check_option("tied", ("signed",) if self.aggregate != "eq8" else ("signed", "absolute"))
        looks_at = "absolute_members" if self.tied == "absolute" else "contribution"
        if self.aggregate == "nvlabs":
            looks_at = "absolute_positions"
            self._fix(normalize=None, by_batch=True)
        self._fix(needs=frozenset({looks_at}))

    def each(self, record: Record) -> Array:
        """The contribution in each example, as `spatial`, `tied` and `aggregate` ask for it."""
        (looks_at,) = self.needs
        found: Array = getattr(record, looks_at)
        if self.spatial == "mean":
            found = found / record.positions
        return np.abs(found) if self.aggregate == "eq8" else found

    def update(self, state: Any, record: Record) -> Any:
        """Add a batch."""
        if self.aggregate != "nvlabs":
            return super().update(state, record)
        total, batches = state
        return total + normalized(self.each(record).mean(axis=0), record.groups, "l2"), batches + 1

    def result(self, state: Any) -> Array:
        """The mean."""
        mean = super().result(state)
        return np.abs(mean) if self.aggregate == "jacobgil" else mean


@register_criterion("taylor_gate")
class TaylorGateSum(Taylor):
    """`|dLoss/d(gate)|`, averaged over the examples: Taylor without 1/M and without normalisation.

    The default: ranked per budget saved, it kept more accuracy than Eq. 8 before fine-tuning (docs/results/one_shot.md).

    Args:
        normalize: `"l2"` or `"mean"` per layer, or None.
        flops: as in `Taylor`.
        tied: as in `Taylor`.

    Example:
        >>> import keras_taylor as kt
        >>> kt.criteria.criterion_for("taylor_gate").settings()
        {'spatial': 'sum', 'normalize': None, 'flops': 0.0, 'aggregate': 'eq8', 'tied': 'signed'}
    """

    def __init__(self, normalize: str | None = None, flops: float = 0.0, tied: str = "signed") -> None:
        super().__init__("sum", normalize, flops, tied=tied)
