"""What scoring by a criterion costs: seconds and peak memory, with steps that are traced before."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from keras_taylor._keras.losses import objectives
from keras_taylor._record.recorder import Recorder, from_weights, record
from keras_taylor._trace.graph import trace
from keras_taylor.criteria import Criterion
from keras_taylor.criteria._base import FROM_DATA, FROM_WEIGHTS
from keras_taylor.errors import warn


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


def seconds(
    model: Any, criteria: Mapping[str, Criterion], x: Any, y: Any, batch_size: int, repetitions: int
) -> dict[str, list[float]]:
    """How many seconds scoring by each criterion takes, all of them in turns, `repetitions` times."""
    runs = {label: scorer(model, [one], x, y, batch_size) for label, one in criteria.items()}
    found: dict[str, list[float]] = {label: [] for label in runs}
    for run in runs.values():
        run()
    for _ in range(repetitions):
        for label, run in runs.items():
            start = time.perf_counter()
            run()
            found[label].append(time.perf_counter() - start)
    return found


@contextmanager
def peaks_of(model: Any, x: Any, y: Any) -> Iterator[Callable[[str], float | None]]:
    """A function that gives the peak memory of scoring this batch by a criterion of `studies.obd`, above what was in use.

    TensorFlow keeps what it once had, so each is measured in a process of its own. It warns, and gives None, where that cannot
    be done: on a system that does not tell, or where a process of its own cannot load the model.
    """
    with tempfile.TemporaryDirectory() as folder:
        model.save(Path(folder) / "model.keras")
        np.savez(Path(folder) / "data.npz", x=x, y=y)

        def measure(label: str) -> float | None:
            command = [sys.executable, "-W", "ignore", "-m", "keras_taylor.studies._peak_memory", folder, label]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                reason = (done.stderr.strip() or f"exit code {done.returncode}").splitlines()[-1]
                warn(f"Peak memory of {label!r} could not be measured: {reason}")
                return None
            return float(done.stdout.split()[-1])

        yield measure


def peak(model: Any, criterion: Criterion, x: Any, y: Any) -> float:
    """Megabytes by which scoring one batch by the criterion raises the memory; to be called once in a process."""
    needs = criterion.needs & FROM_DATA
    recorder = Recorder(model, trace(model), needs, objectives(model))
    for size in (1, 2):  # traced for any size before it counts
        recorder(x[:size], y[:size], None)
    return memory_rise(lambda: recorder(x, y, None))


def memory_rise(run: Callable[[], object], every: float = 0.001) -> float:
    """Megabytes (2^20 bytes) by which the memory of this process rises, at most, while `run` runs.

    Args:
        run: what to weigh; it must leave the interpreter free now and then, as TensorFlow does while it computes.
        every: seconds from one look at the memory to the next.

    Example:
        >>> memory_rise(lambda: np.ones(2**22).sum()) >= 0
        True
    """
    process, done = psutil.Process(), threading.Event()
    before = process.memory_info().rss
    seen = [before]

    def watch() -> None:
        while not done.wait(every):
            seen[0] = max(seen[0], process.memory_info().rss)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        run()
    finally:
        done.set()
        watcher.join()
    return (max(seen[0], process.memory_info().rss) - before) / 2**20
