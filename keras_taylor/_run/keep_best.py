"""Training that ends with the best weights on the validation data, if need be those at its start."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from typing import Any

import keras


class KeepBest(keras.callbacks.EarlyStopping):
    """Restores the best weights at the end of training; it never stops it.

    Args:
        start: metrics on the validation data before training. The first one that Keras knows the better direction of decides,
            the loss where there is none.
    """

    def __init__(self, start: Mapping[str, float]) -> None:
        super().__init__(patience=sys.maxsize, restore_best_weights=True)
        self._start = dict(start)

    def on_train_begin(self, logs: Any = None) -> None:
        """The weights now are the best so far."""
        super().on_train_begin(logs)
        for name in (*(name for name in self._start if name != "loss"), "loss"):
            self.monitor = f"val_{name}"
            try:
                self._set_monitor_op()
                break
            except ValueError:  # Keras does not know whether more is better
                continue
        start = self._start[self.monitor.removeprefix("val_")]
        self.best = start if math.isfinite(start) else None  # what follows NaN is better than it
        self.best_weights, self.best_epoch = self.model.get_weights(), -1

    @property
    def kept(self) -> str:
        """Which weights were kept, and by which metric."""
        return f"{'the start' if self.best_epoch < 0 else f'epoch {self.best_epoch + 1}'} by {self.monitor}"
