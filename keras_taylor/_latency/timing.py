"""Files to time, and how long they take: the only place where the clock is read for a budget."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from keras_taylor._flatten import functional
from keras_taylor._lite import Latency, compare_latency
from keras_taylor._quantize.config import Int8PTQ, Int8QAT, Int16x8PTQ, Quantizer, quantizer_for
from keras_taylor._quantize.convert import convert
from keras_taylor._quiet import quiet


def file_like(model: Any, quantizer: str | Quantizer | None, io: str | None = None) -> bytes:
    """A file that takes as long as the model's own of that precision does: ranges are those of noise, nothing is trained.

    Args:
        model: a Keras model.
        quantizer: the precision.
        io: `"integer"` lets an integer file take and give integers, so that no conversion is timed.
    """
    kind = quantizer_for(quantizer)
    if isinstance(kind, Int8PTQ | Int8QAT):
        rng = np.random.default_rng(0)
        shapes = [(2, *(d or 32 for d in x.shape[1:])) for x in functional(model).inputs]
        types = [x.dtype for x in functional(model).inputs]
        noise = [np.abs(rng.normal(size=s)).astype(t) for s, t in zip(shapes, types, strict=True)]
        if isinstance(kind, Int16x8PTQ):
            like: Int8PTQ = Int16x8PTQ(calibration=(noise,), io=kind.io)
        else:
            like = Int8PTQ(calibration=(noise,), io=kind.io)
        kind = replace(like, io=like.types[1]) if io == "integer" else like
    with quiet():
        return convert(model, kind)


def latencies(files: Sequence[bytes], threads: int, seconds: float = 3.0) -> list[Latency]:
    """Time files in turn for about `seconds` in all, but at least four rounds of five runs each."""
    first = sum(latency.fastest_ms for latency in compare_latency(files, threads=threads, rounds=1, runs=1, warm_up=1))
    rounds = int(np.clip(seconds / (6 * first / 1000), 4, 40))
    return compare_latency(files, threads=threads, rounds=rounds, runs=5, warm_up=2)
