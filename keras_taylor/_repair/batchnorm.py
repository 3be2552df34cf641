"""BatchNormalization statistics, measured again, layer by layer, in place."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import keras
import numpy as np

from keras_taylor._keras.program import Call, infer
from keras_taylor._rebuild.rebuild import flat_names
from keras_taylor._repair.consumers import changed_steps, locked
from keras_taylor._repair.layer_fit import Progress
from keras_taylor._repair.stepwise_run import Batches, Frontier
from keras_taylor._trace.graph import ChannelGraph
from keras_taylor.errors import NonFiniteScores
from keras_taylor.rules import Keep, Step


def recalibrate(
    graph: ChannelGraph, keep: Keep, small: ChannelGraph, batches: Batches, frozen: bool, progress: Progress
) -> int:
    """Set the statistics of every BatchNormalization whose inputs pruning changed, one after the other.

    Its outputs get the mean and the variance that the original's have on the same data. For statistics that are those of the
    data this is measuring them again; where they are not (folded into the kernels, measured on augmented images), what the
    original's outputs owe to the difference is kept.

    Returns:
        The number of passes over the data, 2.
    """
    names, changed = flat_names(graph), changed_steps(graph, keep)
    twins: defaultdict[str, list[Step]] = defaultdict(list)
    for step in small.steps:
        twins[step.call.name.split("@")[0]].append(step)
    pairs: list[tuple[list[Step], list[Step]]] = []
    for steps in _calls(graph):
        layer, mine = steps[0].call.operation, twins[names[steps[0].call.name]]
        if isinstance(layer, keras.layers.BatchNormalization) and len(mine) == len(steps) and not locked(graph, steps[0]):
            if any(id(step) in changed for step in steps) and (layer.trainable or frozen):
                pairs.append((steps, mine))
    expected = {id(step.call): _Moments() for steps, _ in pairs for step in steps}
    kept = {id(step.call): step.outputs[0].kept(keep) for steps, _ in pairs for step in steps}

    def measured(call: Call, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if id(call) in expected:
            expected[id(call)].add(args[0], call.operation.axis, kept[id(call)])
        return infer(call, args, kwargs)

    for batch in batches:
        graph.program.run(batch, measured)
    frontier = Frontier(small.program, batches)
    order = {id(step): number for number, step in enumerate(small.steps)}
    for done, (steps, mine) in enumerate(sorted(pairs, key=lambda pair: order[id(pair[1][0])])):
        frontier.advance(mine[0].call)
        there, here = _Moments(), _Moments()
        for step, twin in zip(steps, mine, strict=True):
            there.join(expected[id(step.call)])
            for number in range(len(batches)):
                here.add(frontier.peek(number, twin.call.inputs[0]), twin.call.operation.axis)
        if not (np.isfinite(here.squares).all() and np.isfinite(there.squares).all()):
            raise NonFiniteScores(
                "Activations that repair reads must be finite. Received: NaN or infinity in the inputs of "
                f"{steps[0].call.name!r}."
            )
        _match(steps[0].call.operation, mine[0].call.operation, kept[id(steps[0].call)], there, here)
        progress(done + 1, len(pairs))
    return 2


def _match(original: Any, layer: Any, kept: Any, there: _Moments, here: _Moments) -> None:
    mean, variance = original.moving_mean.numpy()[kept], original.moving_variance.numpy()[kept] + original.epsilon
    alive = there.variance() > 1e-12 * variance
    ratio = np.where(alive, here.variance() / np.where(alive, there.variance(), 1.0), 1.0)
    layer.moving_mean.assign((here.mean() - np.sqrt(ratio) * (there.mean() - mean)).astype("float32"))
    layer.moving_variance.assign(np.maximum(variance * ratio - original.epsilon, 0.0).astype("float32"))


class _Moments:
    """Mean and variance of channels, summed up batch by batch in float64."""

    def __init__(self) -> None:
        self.count = 0
        self.total: Any = 0.0
        self.squares: Any = 0.0

    def add(self, values: Any, axis: int, kept: Any = slice(None)) -> None:
        """Add a batch, of which the channels `kept` along `axis` count."""
        x = np.moveaxis(np.asarray(values, np.float64), axis, -1)
        x = x.reshape(-1, x.shape[-1])[:, kept]
        self.count += len(x)
        self.total = self.total + x.sum(axis=0)
        self.squares = self.squares + (x**2).sum(axis=0)

    def join(self, other: _Moments) -> None:
        """Add what another one has summed up."""
        self.count += other.count
        self.total = self.total + other.total
        self.squares = self.squares + other.squares

    def mean(self) -> Any:
        return self.total / self.count

    def variance(self) -> Any:
        return np.maximum(self.squares / self.count - self.mean() ** 2, 0.0)


def _calls(graph: ChannelGraph) -> list[list[Step]]:
    """The steps of each operation."""
    found: defaultdict[int, list[Step]] = defaultdict(list)
    for step in graph.steps:
        found[id(step.call.operation)].append(step)
    return list(found.values())
