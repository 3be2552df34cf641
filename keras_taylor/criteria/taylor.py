"""First-order Taylor: how much the loss changes, to first order, when a channel is silenced."""

from __future__ import annotations

import numpy as np

from keras_taylor.criteria._base import Array, Criterion, Record, register_criterion
from keras_taylor.errors import BadInput

_State = tuple[Array, int]


@register_criterion("taylor")
class Taylor(Criterion):
    """Mean over the examples of `|(1/M) * sum over positions of activation * gradient|`, l2-normalised per layer.

    The absolute value stands outside the sum over positions and inside the mean over examples, as in the paper. Tied channels
    are silenced together, so their members are summed, with sign, before the absolute value.

    Args:
        spatial: `"mean"` divides by M, the size of the channel's map, as in the paper; `"sum"` does not, which makes the
            score dLoss/d(gate), comparable between layers without normalisation.
        normalize: `"l2"` (the paper) or None.
        flops: the paper's lambda: what a million FLOPs of the map take off the score (1e-3 there). It regularises the plain
            order of scores (`kt.plan(rank="score")`); ranking per saving accounts for cost by itself.

    References:
        Molchanov et al. 2017, "Pruning Convolutional Neural Networks for Resource Efficient Inference", Eq. 8 (score),
        section 2.2 (normalisation), Eq. 9 (FLOPs).

    Example:
        >>> import keras_taylor as kt
        >>> kt.criteria.Taylor(spatial="sum", normalize=None).settings()
        {'spatial': 'sum', 'normalize': None, 'flops': 0.0}
    """

    needs = frozenset({"contribution"})

    def __init__(self, spatial: str = "mean", normalize: str | None = "l2", flops: float = 0.0) -> None:
        if spatial not in ("mean", "sum"):
            raise BadInput(f"spatial of Taylor must be 'mean' or 'sum'. Received: {spatial!r}.")
        self.check_options(normalize, flops)
        self.spatial = spatial
        self.normalize = normalize
        self.flops = flops

    def init(self, channels: int, rng: np.random.Generator) -> _State:
        """Sum of absolute contributions, and number of examples."""
        return np.zeros(channels), 0

    def update(self, state: _State, record: Record) -> _State:
        """Add a batch."""
        total, examples = state
        size = np.abs(record.contribution).sum(axis=0)
        if self.spatial == "mean":
            size = size / record.positions
        return total + size, examples + len(record.contribution)

    def result(self, state: _State) -> Array:
        """The mean over the examples."""
        total, examples = state
        return total / examples


@register_criterion("taylor_gate")
class TaylorGateSum(Taylor):
    """`|dLoss/d(gate)|`, averaged over the examples: Taylor without 1/M and without normalisation.

    The default: ranked per budget saved, it kept more accuracy than Eq. 8 before fine-tuning (docs/results/one_shot.md).
    """

    def __init__(self, normalize: str | None = None, flops: float = 0.0) -> None:
        super().__init__("sum", normalize, flops)
