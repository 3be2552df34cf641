"""Which layers have NaN or infinity among their weights."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from keras_taylor._trace.graph import ChannelGraph

CHECK_FOR_NAN = "Check the model's weights and the data for NaN, and that the loss is finite on them."
"""What errors about NaN and infinity end with."""


def layers_with_nan(graph: ChannelGraph) -> list[str]:
    """Names of the layers with NaN or infinity among their weights."""
    weights = [(step.call.name, w) for step in graph.steps for w in getattr(step.call.operation, "weights", ())]
    return list(dict.fromkeys(name for name, weight in weights if not np.isfinite(_numbers(weight)).all()))


def _numbers(weight: Any) -> NDArray[Any]:
    return np.asarray(weight.numpy(), float)
