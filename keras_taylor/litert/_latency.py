"""How long a file takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from keras_taylor.errors import whole_number
from keras_taylor.litert._device import device_name


@dataclass(frozen=True)
class Latency:
    """How long one call of a file takes, in milliseconds.

    Attributes:
        fastest_ms: the fastest run: what else the machine does can only add to it.
        median_ms: the middle one of all runs.
        q1_ms: a quarter of the runs took no longer than this.
        q3_ms: three quarters of the runs took no longer than this.
        runs: calls that were timed.
        warm_up: untimed calls before them.
        threads: of the interpreter.
        device: the processor, with its instructions for products of matrices.
    """

    fastest_ms: float
    median_ms: float
    q1_ms: float
    q3_ms: float
    runs: int
    warm_up: int
    threads: int
    device: str

    @classmethod
    def of(cls, seconds: Sequence[float], warm_up: int, threads: int) -> Latency:
        """The quartiles of timed runs."""
        fastest, q1, median, q3 = (float(q) for q in np.percentile(seconds, (0, 25, 50, 75)) * 1000)
        return cls(fastest, median, q1, q3, len(seconds), warm_up, threads, device_name())

    def __str__(self) -> str:
        return (
            f"{self.median_ms:.4g} ms (quartiles {self.q1_ms:.4g} to {self.q3_ms:.4g}, fastest {self.fastest_ms:.4g}; "
            f"{self.runs} runs after {self.warm_up}, {self.threads} thread{'s' * (self.threads > 1)}, {self.device})"
        )


def check_runs(**counts: int) -> None:
    """Raise `BadInput` unless the counts are whole numbers of at least 1 (`warm_up` may be 0)."""
    for name, count in counts.items():
        whole_number(name, count, least=0 if name == "warm_up" else 1)
