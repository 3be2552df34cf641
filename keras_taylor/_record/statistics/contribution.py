"""The derivative of the loss with respect to a channel's gate."""

from __future__ import annotations

from typing import Any

import numpy as np

from keras_taylor._record.backward import CONTRIBUTION
from keras_taylor._record.gate import contribution
from keras_taylor._record.statistics._base import GradientStatistic, register_statistic
from keras_taylor.criteria._statistics import Array


@register_statistic("contribution")
class Contribution(GradientStatistic):
    """dLoss/d(gate): the sum over positions and members of activation times gradient, in units of the loss."""

    probe = CONTRIBUTION

    def at_position(self, activation: Any, gradient: Any) -> Any:
        """The product."""
        return contribution(activation, gradient)

    def example(self, rng: np.random.Generator, examples: int, channels: int) -> Array:
        """Of either sign."""
        return rng.normal(size=(examples, channels))
