"""Files to time, and how long they take: the only place where the clock is read for a budget."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_taylor._keras.example_inputs import example_inputs
from keras_taylor._keras.precision import half_precision
from keras_taylor._keras.program import flatten
from keras_taylor._keras.serving import argument, serving
from keras_taylor._quantize.convert import convert
from keras_taylor._rebuild.float32_twin import float32_twin
from keras_taylor.errors import ConversionError
from keras_taylor.litert import Latency, LiteModel, compare_latency
from keras_taylor.quantizers import Quantizer, quantizer_for


def file_like(model: Any, quantizer: str | Quantizer | None, integers: bool = False) -> bytes:
    """A file that takes as long as the model's own of that precision does: ranges are those of noise, nothing is trained.

    Args:
        model: a Keras model.
        quantizer: the precision.
        integers: an integer file takes and gives integers, so that no conversion is timed.
    """
    model = float32_twin(model).model if half_precision(model) else model
    precision, program = quantizer_for(quantizer).stand_in(integers), flatten(model)
    noise = dict(zip(map(argument, program.input_names), example_inputs(program, seed=0, batch=1), strict=True))
    return convert(serving(model), precision, program, lambda: iter([noise]))


def check_runs(file: bytes, name: str, quantizer: Quantizer) -> None:
    """Raise `ConversionError` unless LiteRT can run the file, once, of the model of this name."""
    lite = LiteModel(file)
    try:
        lite.prepare()
        lite.timed(1)
    except RuntimeError as failure:
        raise ConversionError(
            f"LiteRT must be able to run the {quantizer.name} file of {name!r}. Received: {' '.join(str(failure).split())}. "
            "Replace the operation, or use another precision."
        ) from failure


def latencies(files: Sequence[bytes], threads: int, seconds: float = 3.0) -> list[Latency]:
    """Time files in turn for about `seconds` in all, but at least four rounds of five runs each."""
    first = sum(latency.fastest_ms for latency in compare_latency(files, threads=threads, rounds=1, runs=1, warm_up=1))
    rounds = int(np.clip(seconds / (6 * first / 1000), 4, 40))
    return compare_latency(files, threads=threads, rounds=rounds, runs=5, warm_up=2)
