"""Mean activation."""

from __future__ import annotations

from keras_taylor.criteria._base import Array, MeanOverExamples, Record, register_criterion


@register_criterion("activation")
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

    needs = frozenset({"activation"})

    def __init__(self, normalize: str | None = "l2", flops: float = 0.0) -> None:
        super().__init__(normalize, flops)

    def each(self, record: Record) -> Array:
        """The mean of each example."""
        return record.activation
