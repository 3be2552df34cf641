"""A learning rate that does not destroy a repair: a warm-up after each removal, and a fall to 0 at the end of the run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

from keras_taylor._keras.compilation import inner_optimizer
from keras_taylor._repair.attempts import Repair

_WARM_UP = 30
"""Steps until the full rate: until then Adam's averages say nothing, and momentum has not built up."""


class GentleRate(keras.callbacks.Callback):
    """Scales the optimizer's learning rate in each step of a stretch of training, and sets it back after it.

    The factor is `damage * min(step / warm_up, 1 - share of the run that is done)`. Between steps the rate is unscaled, so
    other callbacks find what they expect; as soon as something else sets it, this keeps out of it.

    Args:
        epochs: of the whole run, at whose end the rate is 0.
        damage: between 0 and 1.
    """

    def __init__(self, epochs: int, damage: float = 1.0) -> None:
        super().__init__()
        self._epochs, self._damage = epochs, damage
        self._rate, self._alone = 0.0, True
        self._epoch = self._before = self._latest = 0

    def on_train_begin(self, logs: Any = None) -> None:
        """The rate now is the one that is scaled."""
        self._rate = self._now()

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Which epoch of the run this is."""
        self._epoch = epoch

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        """Set the rate of this step."""
        self._alone = self._alone and self._now() == self._rate
        if not self._alone:
            return
        steps = self.params.get("steps")
        done = (self._epoch + (batch / steps if steps else 0.0)) / self._epochs
        warm_up = min(_WARM_UP, max((steps or _WARM_UP) // 2, 1))
        factor = self._damage * min((self._before + batch + 1) / warm_up, 1.0 - done)
        self.model.optimizer.learning_rate = self._rate * factor

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Set the rate back."""
        self._latest = batch
        if self._alone:
            self.model.optimizer.learning_rate = self._rate

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Count the steps."""
        self._before += self._latest + 1

    def _now(self) -> float:
        return float(self.model.optimizer.learning_rate)


def gentle_rate(model: Any, callbacks: Sequence[Any], epochs: int, repair: Repair | None) -> list[keras.callbacks.Callback]:
    """The callback, unless the optimizer follows a schedule or a function, or a callback of the user's sets the rate.

    Args:
        model: compiled.
        callbacks: of the user.
        epochs: of the whole run.
        repair: what was tried after the removal, if anything: it tells how much there is to be mended.
    """
    rate = getattr(inner_optimizer(model.optimizer), "_learning_rate", None)
    steered = (keras.callbacks.LearningRateScheduler, keras.callbacks.ReduceLROnPlateau)
    if not isinstance(rate, keras.Variable) or any(isinstance(one, steered) for one in callbacks):
        return []
    return [GentleRate(epochs, 1.0 if repair is None else damage(repair))]


def damage(repair: Repair) -> float:
    """How much of the full rate the error that is left asks for, between 0.1 and 1: all of it from a quarter on."""
    return min(max(4.0 * repair.chosen.error, 0.1), 1.0)
