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
    """Scales the optimizer's learning rate in each step of a stretch of training, and sets it back at the end.

    The factor is `damage * min(step / warm_up, 1 - share of the run that is done)`. As soon as something else sets the rate,
    this keeps out of it.

    Args:
        epochs: of the whole run, at whose end the rate is 0.
        damage: between 0 and 1.
    """

    def __init__(self, epochs: int, damage: float = 1.0) -> None:
        super().__init__()
        self._epochs, self._damage = epochs, damage
        self._rate = self._ours = 0.0
        self._epoch = self._step = 0

    def on_train_begin(self, logs: Any = None) -> None:
        """The rate now is the one that is scaled."""
        self._rate = self._ours = self._now()
        self._step = 0

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Which epoch of the run this is."""
        self._epoch = epoch

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        """Set the rate of this step."""
        if self._now() != self._ours:
            self._epochs = 0
        if not self._epochs:
            return
        self._step += 1
        steps = self.params.get("steps")
        done = (self._epoch + (batch / steps if steps else 0.0)) / self._epochs
        warm_up = min(_WARM_UP, max((steps or _WARM_UP) // 2, 1))
        self.model.optimizer.learning_rate = self._rate * self._damage * min(self._step / warm_up, 1.0 - done)
        self._ours = self._now()

    def on_train_end(self, logs: Any = None) -> None:
        """The rate is what it was: training may go on."""
        if self._epochs:
            self.model.optimizer.learning_rate = self._rate

    def _now(self) -> float:
        return float(self.model.optimizer.learning_rate)


def gentle_rate(model: Any, callbacks: Sequence[Any], epochs: int, repair: Repair | None) -> list[keras.callbacks.Callback]:
    """The callback, unless the optimizer follows a schedule or a callback of the user's sets the rate.

    Args:
        model: compiled.
        callbacks: of the user.
        epochs: of the whole run.
        repair: what was tried after the removal, if anything: it tells how much there is to be mended.
    """
    rate = getattr(inner_optimizer(model.optimizer), "_learning_rate", None)
    scheduled = isinstance(rate, keras.optimizers.schedules.LearningRateSchedule)
    steered = (keras.callbacks.LearningRateScheduler, keras.callbacks.ReduceLROnPlateau)
    if scheduled or any(isinstance(one, steered) for one in callbacks):
        return []
    return [GentleRate(epochs, 1.0 if repair is None else damage(repair))]


def damage(repair: Repair) -> float:
    """How much of the full rate the error that is left asks for, between 0.1 and 1: all of it from a quarter on."""
    return min(max(4.0 * repair.chosen.error, 0.1), 1.0)
