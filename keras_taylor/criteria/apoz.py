"""APoZ: the share of activations that are zero."""

from __future__ import annotations

from dataclasses import dataclass

from keras_taylor.criteria._base import MeanOverExamples, register_criterion
from keras_taylor.criteria._statistics import Array, Record


@register_criterion("apoz")
@dataclass(frozen=True)
class APoZ(MeanOverExamples):
    """`1 - APoZ`: the share of a channel's activations that are *not* zero; needs data, but no labels.

    The average percentage of zeros ranks what to remove, so its sign is turned: higher is kept longer.

    Args:
        normalize: `"l2"` (default) or `"mean"` per layer, or None.
        flops: as in `Taylor`.

    References:
        Hu et al. 2016, "Network Trimming: A Data-Driven Neuron Pruning Approach towards Efficient Deep Architectures", Eq. 1.

    Example:
        >>> import keras_taylor as kt
        >>> sorted(kt.criteria.APoZ().needs)
        ['zeros']
    """

    normalize: str | None = "l2"
    flops: float = 0.0

    needs = frozenset({"zeros"})

    def each(self, record: Record) -> Array:
        """The share of each example."""
        return 1.0 - record.zeros
