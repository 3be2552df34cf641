"""What scoring by a criterion costs: seconds and peak memory, with steps that are traced before."""

from __future__ import annotations

import ctypes
import gc
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from keras_taylor._graph import trace
from keras_taylor._recording import Recorder, from_weights, record
from keras_taylor._self_labels import objectives
from keras_taylor.criteria import Criterion
from keras_taylor.criteria._base import FROM_DATA, FROM_WEIGHTS

_STATUS, _REFS = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def scorer(model: Any, criteria: Sequence[Criterion], x: Any, y: Any, batch_size: int) -> Callable[[], Any]:
    """What `kt.score_all` does, as a function whose step is traced when it is called for the first time."""
    graph = trace(model)
    blind = [one for one in criteria if not one.needs & FROM_DATA]
    fed = [one for one in criteria if one.needs & FROM_DATA]
    recorder = Recorder(model, graph, frozenset[str]().union(*(one.needs for one in fed)), objectives(model))

    def score() -> Any:
        weights = from_weights(graph, FROM_WEIGHTS)
        for one in blind:
            one.result(one.update(one.init(graph.channels, np.random.default_rng(0)), weights))
        states = [one.init(graph.channels, np.random.default_rng(0)) for one in fed]
        parts = ((x[i : i + batch_size], y[i : i + batch_size], None) for i in range(0, len(x), batch_size))
        for found in record(recorder, parts):
            states = [one.update(state, found) for one, state in zip(fed, states, strict=True)]
        return [one.result(state) for one, state in zip(fed, states, strict=True)]

    return score


def costs(
    model: Any, criteria: Mapping[str, Criterion], x: Any, y: Any, batch_size: int, repetitions: int
) -> dict[str, dict[str, list[float]]]:
    """Seconds, and MB at the peak above what was used before, of each criterion: all in turns, `repetitions` times."""
    runs = {label: scorer(model, [one], x, y, batch_size) for label, one in criteria.items()}
    found: dict[str, dict[str, list[float]]] = {label: {"seconds": [], "megabytes": []} for label in runs}
    for run in runs.values():
        run()
    for _ in range(repetitions):
        for label, run in runs.items():
            before = _forget_peak()
            start = time.perf_counter()
            run()
            found[label]["seconds"].append(time.perf_counter() - start)
            found[label]["megabytes"].append(_status("VmHWM") - before)
    return found


def _forget_peak() -> float:
    """Give free memory back, and start to measure the peak anew; MB that are in use, NaN where the system does not tell."""
    if not (sys.platform == "linux" and _REFS.exists()):
        return float("nan")
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    _REFS.write_text("5")
    return _status("VmRSS")


def _status(field: str) -> float:
    if not _STATUS.exists():
        return float("nan")
    line = next(line for line in _STATUS.read_text().splitlines() if line.startswith(f"{field}:"))
    return int(line.split()[1]) / 1024
