"""How long each step of pruning takes."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from keras_taylor._keras.batch_check import explained
from keras_taylor._keras.batches import batches, count_batches
from keras_taylor._keras.forms import is_infinite
from keras_taylor._keras.model import trains_on_labels
from keras_taylor._rebuild.rebuild import copy_model
from keras_taylor._trace.graph import ChannelGraph

_TIMED = 3


class Clock:
    """Seconds of named steps, which may be done several times."""

    def __init__(self) -> None:
        self._seconds: defaultdict[str, list[float]] = defaultdict(list)

    @contextmanager
    def __call__(self, step: str) -> Iterator[None]:
        """Time the block as one more run of a step."""
        start = time.perf_counter()
        yield
        self._seconds[step].append(time.perf_counter() - start)

    def means(self) -> dict[str, float]:
        """Mean seconds of each step, in the order in which they were first done."""
        return {step: float(np.mean(found)) for step, found in self._seconds.items()}


def training_pass(
    graph: ChannelGraph, data: Any, batch_size: int, class_weight: Mapping[int, float] | None = None
) -> float | None:
    """Seconds of one epoch of `fit` of the unpruned model, from three steps of a copy, without the compilation.

    Args:
        graph: of the model.
        data: training data.
        batch_size: for arrays.
        class_weight: as in `fit`.

    Returns:
        None without labels, without a compiled loss, or where only reading tells how many batches there are.
    """
    steps = None if is_infinite(data) else count_batches(data, batch_size=batch_size, examples=None)
    if steps is None or not trains_on_labels(graph.model):
        return None
    batch = next(batches(data, batch_size=batch_size, class_weight=class_weight, labels=False))
    x, y, weight = batch
    copy = copy_model(graph)
    if y is None or not copy.compiled:
        return None
    clock = Clock()
    with explained(copy, batch):
        copy.train_on_batch(x, y, sample_weight=weight)  # compiles
        for _ in range(_TIMED):
            with clock("step"):
                copy.train_on_batch(x, y, sample_weight=weight)
    return steps * clock.means()["step"]
