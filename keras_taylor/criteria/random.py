"""Random scores: the control that every criterion has to beat."""

from __future__ import annotations

import numpy as np

from keras_taylor.criteria._base import Criterion, register_criterion
from keras_taylor.criteria._statistics import Array


@register_criterion("random")
class Random(Criterion):
    """Uniform numbers in [0, 1), drawn with the seed of `kt.score`; needs no data.

    References:
        Molchanov et al. 2017, Table 1 uses it as the zero of its scale.

    Example:
        >>> import keras_taylor as kt
        >>> kt.criteria.Random().needs
        frozenset()
    """

    def init(self, channels: int, rng: np.random.Generator) -> Array:
        """The numbers themselves."""
        return rng.random(channels)

    def result(self, state: Array) -> Array:
        """The numbers."""
        return state
