"""Files to time, and how long they take: the only place where the clock is read for a budget."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from keras_taylor._keras.program import flatten
from keras_taylor._quantize.convert import argument, convert, serving
from keras_taylor._quantize.quantizers import Int8PTQ, Int8QAT, Quantizer, quantizer_for
from keras_taylor._quantize.tflite import Latency, compare_latency
from keras_taylor._rebuild.verify import example_inputs


def file_like(model: Any, quantizer: str | Quantizer | None, io: str | None = None) -> bytes:
    """A file that takes as long as the model's own of that precision does: ranges are those of noise, nothing is trained.

    Args:
        model: a Keras model.
        quantizer: the precision.
        io: `"integer"` lets an integer file take and give integers, so that no conversion is timed.
    """
    kind, program = quantizer_for(quantizer), flatten(model)
    if isinstance(kind, Int8QAT):
        kind = Int8PTQ(io=kind.io)
    if io == "integer" and isinstance(kind, Int8PTQ):
        kind = replace(kind, io=kind.types[1])
    noise = dict(zip(map(argument, program.input_names), example_inputs(program, seed=0, batch=1), strict=True))
    return convert(serving(model), kind, program, lambda: iter([noise]))


def latencies(files: Sequence[bytes], threads: int, seconds: float = 3.0) -> list[Latency]:
    """Time files in turn for about `seconds` in all, but at least four rounds of five runs each."""
    first = sum(latency.fastest_ms for latency in compare_latency(files, threads=threads, rounds=1, runs=1, warm_up=1))
    rounds = int(np.clip(seconds / (6 * first / 1000), 4, 40))
    return compare_latency(files, threads=threads, rounds=rounds, runs=5, warm_up=2)
