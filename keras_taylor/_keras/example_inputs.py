"""Inputs that are made up where none are given: of the right shapes and dtypes, and of values that most models can take."""

from __future__ import annotations

from typing import Any

import numpy as np

from keras_taylor._keras.program import Program


def example_inputs(program: Program, seed: int, batch: int = 2, unknown: int = 32) -> list[Any]:
    """Random inputs of the right shapes and dtypes: normal numbers, the whole numbers 0 and 1, one-letter strings.

    Args:
        program: of the model.
        seed: of the random numbers.
        batch: number of examples, where the model does not fix it.
        unknown: what a length becomes that the model does not fix.
    """
    rng = np.random.default_rng(seed)
    arrays = []
    for tensor in program.inputs:
        shape = [tensor.shape[0] or batch, *(unknown if d is None else d for d in tensor.shape[1:])]
        if "float" in tensor.dtype:
            arrays.append(rng.normal(size=shape).astype(tensor.dtype))
        elif tensor.dtype == "string":
            arrays.append(rng.choice(np.array([b"a", b"b"], object), size=shape))
        else:
            arrays.append(rng.integers(0, 2, size=shape).astype(tensor.dtype))
    return arrays
