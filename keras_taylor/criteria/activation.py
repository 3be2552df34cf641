"""Mean activation."""

from __future__ import annotations

from dataclasses import dataclass

from keras_taylor.criteria._base import MeanOverExamples, register_criterion
from keras_taylor.criteria._statistics import Array, Record


@register_criterion("activation")
@dataclass(frozen=True)
class Activation(MeanOverExamples):
    """Mean of a channel's activations over examples and positions; needs data, but no labels.

    It is meant for channels behind a ReLU: with its sign, as in the paper, a mean below zero ranks lowest.

    Args:
        normalize: `"l2"` (default) or `"mean"` per layer, or None.
        flops: as in `Taylor`.

    References:
        Molchanov et al. 2017, section 2.2, "activation": `(1/|a|) * sum of a`.

    Example:
        >>> import keras_taylor as kt
        >>> sorted(kt.criteria.Activation().needs)
        ['activation']
    """

    normalize: str | None = "l2"
    flops: float = 0.0

    needs = frozenset({"activation"})

    def each(self, record: Record) -> Array:
        """The mean of each example."""
        return record.activation
