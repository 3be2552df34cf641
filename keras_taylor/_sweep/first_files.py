"""The unpruned net in every precision, before anything is trained: what cannot be converted is known in seconds."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

from keras_taylor._keras.batches import batches
from keras_taylor._measure.bops import file_bops
from keras_taylor._quantize.quantize import quantize
from keras_taylor._trace.graph import ChannelGraph
from keras_taylor.errors import ExportMismatch, KerasTaylorError
from keras_taylor.quantizers import Quantizer, quantizer_for

_EXAMPLES = 32
"""To calibrate on: enough to see whether there is a file."""


def unpruned_bops(graph: ChannelGraph) -> int:
    """Bit operations of the unpruned net in float32.

    Raises:
        ConversionError: there is no such file.
    """
    return file_bops(quantize(graph, verbose=0), graph.macs)


def refused(graph: ChannelGraph, quantizers: Sequence[Quantizer], data: Any) -> dict[str, KerasTaylorError]:
    """By name, the quantizers that no file of the unpruned net can be made in, and why; nothing is trained.

    Args:
        graph: of the unpruned net.
        quantizers: the precisions.
        data: training data as `fit` takes them, of which a few are calibrated on.
    """
    x, _, _ = next(batches(data, batch_size=_EXAMPLES, examples=_EXAMPLES, labels=False))
    tried: dict[Quantizer, KerasTaylorError | None] = {quantizer_for(None): None}
    found = {}
    for quantizer in quantizers:
        stand_in = quantizer.stand_in()
        if stand_in not in tried:
            tried[stand_in] = _refusal(graph, stand_in.with_data((x,)))
        error = tried[stand_in] or _unsupported(graph, quantizer)
        if error is not None:
            found[quantizer.name] = error
    return found


def _refusal(graph: ChannelGraph, quantizer: Quantizer) -> KerasTaylorError | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # they come with the rows
            quantize(graph, quantizer, verbose=0)
    except ExportMismatch:  # of this net; training may mend it
        return None
    except KerasTaylorError as error:
        return error
    return None


def _unsupported(graph: ChannelGraph, quantizer: Quantizer) -> KerasTaylorError | None:
    try:
        quantizer.check_graph(graph)
    except KerasTaylorError as error:
        return error
    return None
