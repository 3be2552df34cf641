"""Kernels by the channels that they make, or read."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from keras_taylor._trace.graph import ChannelGraph
from keras_taylor.criteria import Filters
from keras_taylor.rules import Step


def kernels_along(graph: ChannelGraph, step: Step, word: str, ids: NDArray[np.int64]) -> Iterator[Filters]:
    """The kernels of a step with one column for each of the labels `ids` along the axis `word` (`"in"` or `"out"`)."""
    for name, words in step.rule.weight_axes(step.call.operation).items():
        axes = words.split()
        if name in step.rule.kernels and word in axes:
            kernel = np.moveaxis(getattr(step.call.operation, name).numpy(), axes.index(word), -1)
            if kernel.shape[-1] == len(ids):  # else refused: its labels are not its filters
                yield Filters(kernel.reshape(-1, kernel.shape[-1]).astype(float), graph.channel[ids])
