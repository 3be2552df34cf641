"""What a model must be to become a file."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from keras_taylor._trace.graph import ChannelGraph
from keras_taylor.errors import BadInput


def check_convertible(graph: ChannelGraph) -> None:
    """Raise `BadInput` for what no file can be made of."""
    for tensor in graph.program.inputs:
        if None in tensor.shape[1:]:
            raise BadInput(
                f"Inputs of an exported model must have known lengths. Received: shape {tensor.shape}. Rebuild the model on "
                "keras.Input with a full shape."
            )
    check_finite((weight.path, weight) for weight in graph.model.weights)


def check_finite(weights: Iterable[tuple[str, Any]]) -> None:
    """Raise `BadInput` for NaN or infinity: LiteRT crashes on scales that are made of them."""
    for name, weight in weights:
        if not np.isfinite(np.asarray(weight, np.float32)).all():
            raise BadInput(
                f"Weights to quantize must be finite. Received: NaN or infinity in {name!r}. Lower the learning rate."
            )
