"""Contributions, position by position."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from keras_taylor._record.statistics._base import GradientStatistic, register_statistic


@register_statistic("absolute_positions")
class AbsolutePositions(GradientStatistic):
    """The contribution, with the absolute value at every position of every member."""

    probe = "absolute_positions"

    def at_position(self, activation: Any, gradient: Any) -> Any:
        """The absolute product."""
        return tf.abs(activation * gradient)
