"""Clocks, memory and accuracy, measured alike by all benchmarks."""

from __future__ import annotations

import gc
import multiprocessing
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import numpy as np

from keras_taylor.studies._cost import memory_rise

__all__ = ["accuracy", "fresh", "interleaved", "memory_rise", "quartiles"]


def interleaved(repetitions: int, *contenders: Callable[[], Any]) -> Any:
    """Seconds of each contender, run in turns (A B A B ...) so that a busy machine slows all of them alike.

    Returns:
        An array of shape `(contenders, repetitions)`.
    """
    seconds = np.zeros((len(contenders), repetitions))
    for turn in range(repetitions):
        for number, contender in enumerate(contenders):
            start = time.perf_counter()
            contender()
            seconds[number, turn] = time.perf_counter() - start
    return seconds


def quartiles(values: Any) -> dict[str, float]:
    """The median and both quartiles, as entries of a row."""
    low, middle, high = np.percentile(values, [25, 50, 75])
    return {"ratio": float(middle), "low": float(low), "high": float(high)}


def accuracy(model: Any, x: Any, y: Any, batch_size: int = 256) -> float:
    """Share of images whose largest output is the label's."""
    return float((model.predict(x, batch_size=batch_size, verbose=0).argmax(-1) == np.ravel(y)).mean())


def fresh(function: Callable[..., Any], *arguments: Any) -> Any:
    """What a function of a module returns in a process of its own, where nothing else has used memory before."""
    gc.collect()
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()
