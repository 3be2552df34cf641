"""What scoring by a criterion costs: seconds and peak memory, with steps that are traced before."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from keras_taylor._keras.batches import batches
from keras_taylor._score.scorer import Scorer
from keras_taylor._trace.graph import as_graph
from keras_taylor.criteria import Criterion
from keras_taylor.errors import warn


def scorer(model: Any, criteria: Sequence[Criterion], x: Any, y: Any, batch_size: int) -> Callable[[], Any]:
    """Scoring by these criteria as `kt.score_all` does it; the step is compiled when it is called for the first time."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Gauss-Newton is the second derivative")  # what it costs is asked, not how good it is
        run = Scorer(as_graph(model), criteria)
    return lambda: run(batches((x, y), batch_size=batch_size))


def seconds(
    model: Any, criteria: Mapping[str, Criterion], x: Any, y: Any, batch_size: int, repetitions: int
) -> dict[str, list[float]]:
    """How long scoring by each criterion takes, in seconds: all are run in turns, `repetitions` times."""
    graph = as_graph(model)
    runs = {label: scorer(graph, [one], x, y, batch_size) for label, one in criteria.items()}
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
    score = Scorer(as_graph(model), [criterion])
    for size in (1, 2):  # traced for any size before it counts
        score([(x[:size], y[:size], None)])
    return memory_rise(lambda: score([(x, y, None)]))


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
