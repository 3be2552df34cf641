"""Several files timed in one run."""

from __future__ import annotations

from collections.abc import Sequence

from keras_taylor.litert._flatbuffer import File
from keras_taylor.litert._latency import Latency, check_runs
from keras_taylor.litert._model import LiteModel


def compare_latency(
    files: Sequence[File], *, threads: int = 1, rounds: int = 10, runs: int = 5, warm_up: int = 5
) -> list[Latency]:
    """Time several files in turn, in one run: what else the machine does slows all of them alike.

    Args:
        files: `.tflite` files: their paths, their contents, or what `kt.export_tflite` returned.
        threads: of each interpreter.
        rounds: how often each file has its turn.
        runs: calls in one turn. One more goes before them, untimed: it brings the file back into the caches.
        warm_up: calls of each file before the first round.

    Returns:
        One `Latency` per file, over all rounds.

    Raises:
        BadInput: no such file, or a number that is out of range.

    Example:
        >>> import keras, tempfile, pathlib, keras_taylor as kt
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
        >>> file = kt.export_tflite(model, pathlib.Path(tempfile.mkdtemp()) / "model.tflite")
        >>> [latency.runs for latency in kt.litert.compare_latency([file, file])]
        [50, 50]
    """
    check_runs(rounds=rounds, runs=runs, warm_up=warm_up)
    lite = [LiteModel(file, threads=threads) for file in files]
    for one in lite:
        one.prepare()
        one.timed(warm_up)
    seconds: list[list[float]] = [[] for _ in lite]
    for _ in range(rounds):
        for one, found in zip(lite, seconds, strict=True):
            one.timed(1)
            found += one.timed(runs)
    return [Latency.of(found, warm_up, threads) for found in seconds]
