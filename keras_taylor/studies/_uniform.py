"""The same share of every layer: what a budget is worth without any criterion."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from keras_taylor._plan.pruning_plan import PruningPlan, from_mask
from keras_taylor._trace.graph import ChannelGraph

_Mask = NDArray[np.bool_]


def uniform(graph: ChannelGraph, macs: float) -> PruningPlan:
    """The plan that shrinks every layer group by the same share, the widest one within a budget.

    Of each group the first channels stay, at least one; tied layers are one group. Locked channels stay.

    Args:
        graph: of the unpruned model.
        macs: multiply-accumulates per example that may stay. Where even the narrowest net has more, that one is the plan.

    Example:
        >>> import keras, keras_taylor as kt
        >>> model = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Conv2D(8, 3, name="a"),
        ...                           keras.layers.Conv2D(4, 3, name="b")])
        >>> graph = kt.trace(model)
        >>> {name: len(kept) for name, kept in uniform(graph, graph.macs / 2).kept.items()}
        {'a': 4}
    """
    free = [group.channels[graph.locks[group.channels] == ""] for group in graph.groups]
    free = [channels for channels in free if len(channels)]
    widths = sorted({count / len(channels) for channels in free for count in range(1, len(channels) + 1)})

    def mask(share: float) -> _Mask:
        keep = np.ones(graph.channels, bool)
        for channels in free:
            keep[channels[max(int(share * len(channels) + 1e-9), 1) :]] = False
        return keep

    low, high = 0, len(widths) - 1  # a wider net has more MACs
    while low < high:
        middle = (low + high + 1) // 2
        if graph.cost.totals(mask(widths[middle]))["macs"] <= macs:
            low = middle
        else:
            high = middle - 1
    return from_mask(graph, mask(widths[low]))
