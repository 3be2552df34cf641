"""How study `grid` trains: so many mini-batches, one after the other."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np

from keras_taylor.errors import NonFiniteScores
from keras_taylor.studies._grid_recipe import GridRecipe


def compiled(model: Any, recipe: GridRecipe, rate: float) -> Any:
    """The model itself, with a new optimizer."""
    optimizer = keras.optimizers.SGD(rate, momentum=recipe.momentum, weight_decay=recipe.weight_decay)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer, loss, jit_compile=False)
    return model


def updated(
    model: Any,
    batches: Iterator[tuple[Any, Any]],
    count: int,
    rate: Callable[[int], float] | None = None,
    done: Callable[[int], object] = lambda number: None,
) -> None:
    """Train a compiled model on the next `count` batches.

    Args:
        model: it is changed.
        batches: an endless iterator.
        count: of updates.
        rate: the learning rate of each update; by default that of the optimizer.
        done: is told how many updates are done, after each.

    Raises:
        NonFiniteScores: the loss is not finite.
    """
    for number in range(count):
        if rate is not None:
            model.optimizer.learning_rate = rate(number)
        x, y = next(batches)
        loss = float(np.ravel(model.train_on_batch(x, y))[0])
        if not math.isfinite(loss):
            raise NonFiniteScores(
                f"The loss must be finite while {model.name} trains. Received: {loss} after {number + 1} updates at a learning "
                f"rate of {float(model.optimizer.learning_rate):g}. Lower it (learning_rate, pruning_rate)."
            )
        done(number + 1)


def cosine(peak: float, count: int) -> Callable[[int], float]:
    """A rate that rises for a tenth of the updates, and falls to 0 along a cosine."""
    rising = max(count // 10, 1)

    def rate(number: int) -> float:
        if number < rising:
            return peak * (number + 1) / rising
        return peak * (1 + math.cos(math.pi * (number - rising) / max(count - rising, 1))) / 2

    return rate
