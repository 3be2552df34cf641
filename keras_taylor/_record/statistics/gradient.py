"""Size of gradients."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from keras_taylor._record.statistics._base import GradientStatistic, register_statistic


@register_statistic("gradient")
class AbsoluteGradient(GradientStatistic):
    """Sum over positions and members of the absolute gradient of the loss with respect to the activation."""

    probe = "gradient"

    def at_position(self, activation: Any, gradient: Any) -> Any:
        """The absolute gradient."""
        return tf.abs(gradient)
