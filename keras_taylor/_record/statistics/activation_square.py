"""Squares of activations."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from keras_taylor._record.statistics._base import Columns, ReadStatistic, register_statistic


@register_statistic("activation_square")
class SquaredActivation(ReadStatistic):
    """Sum over positions and members of the squared activation."""

    def at_site(self, values: Any) -> Columns:
        """The sum over positions."""
        return {"activation_square": tf.reduce_sum(values**2, 1)}
