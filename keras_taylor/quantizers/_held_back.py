"""Training data in two parts: batches to train on, and examples that are held back to judge what training did."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from itertools import islice
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_taylor._keras.batches import Batch, batches, count_batches

_AT_MOST = 512
"""Examples that are held back; a tenth of the data, where that is less."""


class HeldBack:
    """Labelled data, of which a tenth, but at most 512 examples, is not trained on.

    Of arrays these examples are drawn at random; of other data they are the first batches, at least one. Data too few to share
    are trained on and judged by as a whole. Data that come in another order at each reading cannot be shared: what is held
    back in one reading is trained on in another.

    Args:
        data: as `fit` takes them.
        batch_size: for arrays.
        steps_per_epoch: as in `fit`.
        seed: for the draw and the order.

    Attributes:
        batches: what is held back.
        examples: how many examples that are.
        steps: batches of an epoch; None where only reading tells.
        reshuffled: whether the data come in another order at each reading.
    """

    def __init__(self, data: Any, batch_size: int, steps_per_epoch: int | None, seed: int) -> None:
        self._data, self._size, self._seed, self._given_steps = data, batch_size, seed, steps_per_epoch
        self._skipped = 0
        self.reshuffled = False
        if isinstance(data, (tuple, list)):
            length = len(keras.tree.flatten(data)[0])
            order = np.random.default_rng(seed).permutation(length)
            few = min(length // 10, _AT_MOST)
            held = _rows(data, order[:few] if few else order[:_AT_MOST])
            self.batches = list(batches(held, batch_size=batch_size))
            self._trained_on = order[few:]
            total: int | None = -(-len(self._trained_on) // batch_size)
        else:
            self.batches = self._first(data)
            total = count_batches(data, batch_size=batch_size, examples=None)
        self.examples = sum(len(keras.tree.flatten(x)[0]) for x, _, _ in self.batches)
        self.steps = steps_per_epoch or (None if total is None else total - self._skipped)

    def epoch(self, number: int) -> Iterator[Batch]:
        """The batches of an epoch as tensors, without what is held back; arrays are shuffled anew."""
        data, first = self._data, self._skipped
        if isinstance(data, (tuple, list)):
            data = _rows(data, np.random.default_rng((self._seed, number)).permutation(self._trained_on))
        elif isinstance(data, tf.data.Dataset) and self._given_steps is not None:
            # As in `fit`: an epoch goes on where the one before has stopped.
            steps = self._given_steps
            data, first = data.skip(first).repeat().skip(number * steps).take(steps), 0
        # With a number of steps the data need no end: the caller stops.
        examples = sys.maxsize if self._given_steps is not None and not isinstance(data, tuple) else None
        for batch in islice(batches(data, batch_size=self._size, examples=examples), first, None):
            yield keras.tree.map_structure(lambda a: None if a is None else tf.convert_to_tensor(a), batch)

    def _first(self, data: Any) -> list[Batch]:
        """The first batches; from now on, epochs begin after them, unless there is only one."""
        total = count_batches(data, batch_size=self._size, examples=None) or self._given_steps or 10
        found = list(islice(batches(data, batch_size=self._size, examples=_AT_MOST), max(total // 10, 1)))
        again = list(islice(batches(data, batch_size=self._size, examples=sys.maxsize), len(found) + 1))
        self._skipped = len(found) if len(again) > len(found) else 0
        pairs = zip(keras.tree.flatten(found[0][0]), keras.tree.flatten(again[0][0]), strict=True)
        self.reshuffled = not all(np.array_equal(a, b[: len(a)]) for a, b in pairs)
        return found


def _rows(data: Any, rows: Any) -> Any:
    return keras.tree.map_structure(lambda a: None if a is None else np.asarray(a)[rows], tuple(data))
