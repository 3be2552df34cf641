"""A model of mixed or half precision as one that computes the same in float32."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from keras_taylor._keras.draws import equal_draws
from keras_taylor._keras.example_inputs import example_inputs
from keras_taylor._keras.precision import half_precision
from keras_taylor._rebuild.rebuild import copy_model
from keras_taylor._rebuild.verify import relative_error, run
from keras_taylor._trace.graph import ChannelGraph, as_graph
from keras_taylor.errors import ExportMismatch

_TOLERANCES = {"float16": 3e-2, "bfloat16": 0.25}
"""Sixty-four times the precision of one number."""


def float32_twin(model: Any, seed: int = 0) -> ChannelGraph:
    """A copy with the same weights that computes in float32, traced; of a model that does so already, its own graph.

    Args:
        model: a model, or its graph; it is not changed.
        seed: for the random inputs on which both are compared.

    Raises:
        UnsupportedModel: a layer cannot be made again in float32.
        ExportMismatch: the copy computes something else.
    """
    graph = as_graph(model)
    half = half_precision(graph.model)
    if not half:
        return graph
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float32")  # layers that make others ask for it
    try:
        twin = as_graph(copy_model(graph, in_float32=True))
    finally:
        keras.config.set_dtype_policy(policy)
    inputs = example_inputs(twin.program, seed)
    with equal_draws(graph.model, twin.model) as rewind:
        rewind()
        found = run(twin.model, inputs)
        rewind()
        expected = [np.asarray(one, np.float32) for one in run(graph.model, inputs)]
    # Half precision may overflow on random inputs; float32 does not.
    expected = [np.where(np.isfinite(one), one, other) for one, other in zip(expected, found, strict=True)]
    error = relative_error(expected, found)
    if not error <= _TOLERANCES[half]:
        raise ExportMismatch(
            f"The float32 copy of {graph.name!r} must compute what the model computes in {half}. Received: a relative error of "
            f"{error:.1e} (tolerance {_TOLERANCES[half]:.0e}). Build the model again without mixed precision, load its "
            "weights, and export that."
        )
    return twin
