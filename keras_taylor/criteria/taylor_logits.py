"""First-order Taylor of the logits, put into the loss as it is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from keras_taylor.criteria._base import MeanOverExamples, register_criterion
from keras_taylor.criteria._statistics import Array, Record


@register_criterion("taylor_logits")
@dataclass(frozen=True)
class TaylorLogits(MeanOverExamples):
    """Mean over the examples of `|C(t - dt/d(gate)) - C(t)|`: the loss C is taken as it is, the logits t are expanded.

    The expansions of the loss (`taylor`, `taylor2`) tell little where a model is confident: in the flat tail of its loss slope
    and curvature vanish, though a lost channel may change the answer. With ReLU, max-pooling and BatchNorm in inference the
    logits are piecewise linear in a gate, so that an expansion of the logits holds much longer. It takes one backward pass per
    output; outputs that are neither softmax nor sigmoid, nor logits, are expanded as they are.

    Args:
        absolute: `"examples"` takes the mean of the absolute values over the examples, as Eq. 8 does: it prunes better.
            `"mean"` takes the absolute value of the mean, as the oracle does, and comes closest to it (docs/criteria.md).
        normalize: `"l2"` or `"mean"` per layer, or None.
        flops: as in `Taylor`.

    References:
        Molchanov et al. 2017, Eq. 7, applied to the logits; the idea is this package's own.

    Example:
        >>> import keras_taylor as kt
        >>> sorted(kt.criteria.TaylorLogits().needs)
        ['linear_change']
    """

    absolute: str = "examples"
    normalize: str | None = None
    flops: float = 0.0

    needs = frozenset({"linear_change"})

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_option("absolute", ("mean", "examples"))

    def each(self, record: Record) -> Array:
        """The change of each example's loss."""
        change: Array = record.linear_change
        return np.abs(change) if self.absolute == "examples" else change

    def result(self, state: tuple[Array, int]) -> Array:
        """The absolute value of the mean, or the mean of absolute values."""
        return np.abs(super().result(state))
