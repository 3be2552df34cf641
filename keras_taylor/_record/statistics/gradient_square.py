"""Squares of gradients."""

from __future__ import annotations

from typing import Any

from keras_taylor._record.statistics._base import GradientStatistic, register_statistic


@register_statistic("gradient_square")
class SquaredGradient(GradientStatistic):
    """Sum over positions and members of the squared gradient of the loss with respect to the activation."""

    probe = "gradient_square"
    degree = 2

    def at_position(self, activation: Any, gradient: Any) -> Any:
        """The squared gradient."""
        return gradient**2
