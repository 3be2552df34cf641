"""Second-order Taylor: the change of the loss, to second order, when a gate goes from one to zero."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from keras_taylor.criteria._base import MeanOverExamples, register_criterion
from keras_taylor.criteria._statistics import Array, Record


@register_criterion("taylor2")
@dataclass(frozen=True)
class Taylor2(MeanOverExamples):
    """Mean over the examples of `|-c + h/2|`, with `c = dLoss/d(gate)` and `h = d2Loss/d(gate)2`.

    Args:
        curvature: `"gauss_newton"`, `"fisher"` or `"hutchinson"`, as in `OBD`. The Fisher information is that of a softmax or a
            sigmoid output; for other outputs take another one, so that h has the scale of c.
        absolute: `"examples"` takes the mean of the absolute values over the examples, as Eq. 8 does: it prunes better.
            `"mean"` takes the absolute value of the mean, the change of the loss on the data, which is what the oracle
            measures: it is closer to the oracle, but gains of some examples hide losses of others (docs/criteria.md).
        normalize: `"l2"` or `"mean"` per layer, or None.
        flops: as in `Taylor`.

    References:
        The Taylor expansion of Molchanov et al. 2017, Eq. 7, with its next term.

    Example:
        >>> import keras_taylor as kt
        >>> sorted(kt.criteria.Taylor2().needs)
        ['contribution', 'fisher']
    """

    curvature: str = "fisher"
    absolute: str = "examples"
    normalize: str | None = None
    flops: float = 0.0

    needs = frozenset({"contribution", "fisher"})

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_option("curvature", ("gauss_newton", "fisher", "hutchinson"))
        self.check_option("absolute", ("mean", "examples"))
        self._fix(needs=frozenset({"contribution", self.curvature}))

    def each(self, record: Record) -> Array:
        """The change of each example's loss."""
        change: Array = getattr(record, self.curvature) / 2 - record.contribution
        return np.abs(change) if self.absolute == "examples" else change

    def result(self, state: tuple[Array, int]) -> Array:
        """The absolute value of the mean, or the mean of absolute values."""
        return np.abs(super().result(state))
