"""What the weights alone say about channels."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from keras_taylor._trace.graph import ChannelGraph
from keras_taylor.criteria import Filters
from keras_taylor.rules import Step


def filters(graph: ChannelGraph) -> tuple[Filters, ...]:
    """The kernels of all producers, by filter."""
    born = {name: ids for ids, name in graph.births}
    return tuple(_along(graph, ((step, "out", born[step.call.name]) for step in graph.steps if step.call.name in born)))


def readers(graph: ChannelGraph) -> tuple[Filters, ...]:
    """The kernels of all consumers, by the channel that they read."""
    first = {id(step.call.operation): step for step in reversed(graph.steps)}
    return tuple(
        _along(graph, ((step, "in", step.axes["in"]) for step in first.values() if step.consumes and "in" in step.axes))
    )


def scales(graph: ChannelGraph) -> tuple[Filters, ...]:
    """The factors that normalisations multiply channels with."""
    found = []
    for step in {id(step.call.operation): step for step in graph.steps}.values():
        weight = getattr(step.call.operation, step.rule.scale, None) if step.rule.scale else None
        if weight is not None and "out" in step.axes:
            found.append(Filters(weight.numpy().reshape(1, -1).astype(float), graph.channel[step.axes["out"]]))
    return tuple(found)


def _along(graph: ChannelGraph, steps: Iterator[tuple[Step, str, NDArray[np.int64]]]) -> Iterator[Filters]:
    for step, word, ids in steps:
        for name, words in step.rule.weight_axes(step.call.operation).items():
            axes = words.split()
            if name in step.rule.kernels and word in axes:
                kernel = np.moveaxis(getattr(step.call.operation, name).numpy(), axes.index(word), -1)
                if kernel.shape[-1] == len(ids):  # else refused: its labels are not its filters
                    yield Filters(kernel.reshape(-1, kernel.shape[-1]).astype(float), graph.channel[ids])


def map_sizes(graph: ChannelGraph) -> NDArray[np.float64]:
    """Positions of each channel's map where it is born (the largest among tied ones); an unknown length counts as 1."""
    sizes = np.ones(graph.channels)
    steps = {step.call.name: step for step in graph.steps}
    for ids, name in graph.births:
        axis, shape = steps[name].outputs[0].axis, steps[name].call.outputs[0].shape
        size = math.prod(d or 1 for a, d in enumerate(shape) if a not in (0, axis))
        np.maximum.at(sizes, graph.channel[ids], size)
    return sizes
