"""The size of each channel's map."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from keras_taylor._trace.graph import ChannelGraph


def map_sizes(graph: ChannelGraph) -> NDArray[np.float64]:
    """Positions of each channel's map where it is born (the largest among tied ones); an unknown length counts as 1."""
    sizes = np.ones(graph.channels)
    steps = {step.call.name: step for step in graph.steps}
    for ids, name in graph.births:
        axis, shape = steps[name].outputs[0].axis, steps[name].call.outputs[0].shape
        size = math.prod(d or 1 for a, d in enumerate(shape) if a not in (0, axis))
        np.maximum.at(sizes, graph.channel[ids], size)
    return sizes
