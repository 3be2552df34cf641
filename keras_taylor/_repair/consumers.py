"""Which layers are refitted, and in which order."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import keras

from keras_taylor._keras.operations import StochasticDepth, operation
from keras_taylor._keras.program import Call, Tensor
from keras_taylor._rebuild.rebuild import flat_names
from keras_taylor._trace.graph import ChannelGraph
from keras_taylor.rules import Keep, Linear, Step

Span = tuple[float, float]


@dataclass(frozen=True, eq=False)
class Residual:
    """A sum that a layer's outputs go into, perhaps after a BatchNormalization.

    Attributes:
        call: the sum in the original, and its twin.
        others: its other operands in the original, and their twins.
    """

    call: tuple[Call, Call]
    others: tuple[tuple[Tensor, ...], tuple[Tensor, ...]]


@dataclass(frozen=True, eq=False)
class Consumer:
    """A layer whose inputs pruning changed, in the original and in the small model.

    Attributes:
        name: of the layer in the original.
        calls: the calls of the layer in the original, and their twins in the small model, in the small model's order.
        kept_out: positions of the original's outputs that the small layer still has.
        norm: the BatchNormalization that reads nothing but this layer's outputs, in both models, or None.
        residual: the sum that this layer's outputs go into, or None.
        span: the interval in which what reads the outputs (behind `norm` and `residual`) tells values apart: a ReLU takes
            everything below 0 for 0. None where nothing but an activation function that is flat somewhere reads them.
    """

    name: str
    original: Any
    small: Any
    calls: tuple[tuple[Call, Call], ...]
    linear: Linear
    linear_small: Linear
    kept_out: Any
    norm: tuple[Any, Any] | None
    residual: Residual | None
    span: Span | None


def consumers(graph: ChannelGraph, keep: Keep, small: ChannelGraph, frozen: bool) -> list[Consumer]:
    """The layers to refit, in the order in which the small model runs them; layers that are not trainable only if `frozen`."""
    names = flat_names(graph)
    twins: defaultdict[str, list[Step]] = defaultdict(list)
    for step in small.steps:
        twins[step.call.name.split("@")[0]].append(step)
    calls: defaultdict[int, list[Step]] = defaultdict(list)
    for step in graph.steps:
        calls[id(step.call.operation)].append(step)
    changed = changed_steps(graph, keep)
    chosen = []
    for steps in calls.values():
        first, mine = steps[0], twins[names[steps[0].call.name]]
        layer = first.call.operation
        if len(mine) != len(steps) or locked(graph, first) or not (frozen or getattr(layer, "trainable", False)):
            continue
        if not any(id(step) in changed for step in steps) or getattr(layer, "data_format", None) == "channels_first":
            continue
        linear = first.rule.linear(layer)
        if linear is not None:
            chosen.append((steps, mine, linear))
    original = {names[step.call.name]: step for step in graph.steps}
    readers = _Readers(small)
    found = []
    for steps, mine, linear in chosen:
        first, twin = steps[0], mine[0]
        own = _span(getattr(first.call.operation, "activation", None))
        norm, total, span = readers.follow(twin) if len(mine) == 1 and own == _EVERYTHING else (None, None, None)
        residual = _residual(graph, readers, first, twin, original[total.call.name], total) if total else None
        if norm is not None and not (norm.call.operation.trainable or frozen):
            norm = residual = span = None
        if total is not None and residual is None:
            span = None  # what else goes into the sum is not known
        found.append(
            Consumer(
                first.call.name,
                first.call.operation,
                twin.call.operation,
                tuple((a.call, b.call) for a, b in zip(steps, mine, strict=True)),
                linear,
                twin.rule.linear(twin.call.operation),  # type: ignore[arg-type]
                first.outputs[0].kept(keep),
                (original[norm.call.name].call.operation, norm.call.operation) if norm else None,
                residual,
                span if own == _EVERYTHING else own,
            )
        )
    order = {id(step.call): number for number, step in enumerate(small.steps)}
    return sorted(found, key=lambda one: order[id(one.calls[0][1])])


def changed_steps(graph: ChannelGraph, keep: Keep) -> set[int]:
    """The steps whose outputs are not what they were, by id: something that they read lost channels, or changed."""
    steps: set[int] = set()
    tensors: set[int] = set()
    for step in graph.steps:
        lost = step.consumes and any(not keep[ids].all() for name, ids in step.axes.items() if name != "out")
        if lost or any(tensor.index in tensors for tensor in step.call.inputs):
            steps.add(id(step))
            tensors.update(tensor.index for tensor in step.call.outputs)
    return steps


def locked(graph: ChannelGraph, step: Step) -> bool:
    """Whether none of the channels that a layer reads and gives could have been removed."""
    return all((graph.locks[graph.channel[ids]] != "").all() for ids in step.axes.values())


class _Readers:
    """Who reads each tensor of a graph."""

    def __init__(self, graph: ChannelGraph) -> None:
        self.steps: defaultdict[int, list[Step]] = defaultdict(list)
        self.uses: defaultdict[int, int] = defaultdict(int)
        self.outputs = {tensor.index for tensor in graph.program.outputs}
        for step in graph.steps:
            self.uses[id(step.call.operation)] += 1
            for tensor in step.call.inputs:
                self.steps[tensor.index].append(step)

    def only(self, step: Step) -> Step | None:
        """The one reader of the outputs of `step`, if there is just one, called once."""
        index = step.call.outputs[0].index
        readers = self.steps[index]
        alone = len(readers) == 1 and index not in self.outputs and self.uses[id(readers[0].call.operation)] == 1
        return readers[0] if alone else None

    def follow(self, step: Step) -> tuple[Step | None, Step | None, Span | None]:
        """The BatchNormalization and the sum that alone read the outputs of a layer, and the span of what reads those."""
        norm = reader = self.only(step)
        if norm is None or not isinstance(norm.call.operation, keras.layers.BatchNormalization) or "out" not in norm.axes:
            norm = None
        else:
            reader = self.only(norm)
        reader = self._awake(reader)
        total = reader if reader is not None and isinstance(reader.call.operation, _SUMS) else None
        if total is not None:
            reader = self._awake(self.only(total))
        return norm, total, _span(reader.call.operation) if reader is not None else None

    def _awake(self, reader: Step | None) -> Step | None:
        """The next reader that does something in inference."""
        while reader is not None and isinstance(reader.call.operation, _IDLE):
            reader = self.only(reader)
        return reader


_IDLE = (
    keras.layers.ActivityRegularization,
    keras.layers.AlphaDropout,
    keras.layers.Dropout,
    keras.layers.GaussianDropout,
    keras.layers.GaussianNoise,
    keras.layers.Identity,
    keras.layers.SpatialDropout1D,
    keras.layers.SpatialDropout2D,
    keras.layers.SpatialDropout3D,
    StochasticDepth,
)
_SUMS = (keras.layers.Add, operation("Add"))
_EVERYTHING = (-math.inf, math.inf)
_SPANS = {
    keras.activations.linear: _EVERYTHING,
    keras.activations.relu: (0.0, math.inf),
    keras.activations.relu6: (0.0, 6.0),
    operation("Relu"): (0.0, math.inf),
    operation("Relu6"): (0.0, 6.0),
}


def _span(activation: Any) -> Span | None:
    """Where an activation (a function, a layer, or None) tells values apart; None for one that is not known to be flat."""
    if activation is None:
        return _EVERYTHING
    if isinstance(activation, keras.layers.ReLU):
        plain = not activation.negative_slope and not activation.threshold
        return (0.0, math.inf if activation.max_value is None else float(activation.max_value)) if plain else None
    if isinstance(activation, keras.layers.Activation):
        activation = activation.activation
    return next((span for known, span in _SPANS.items() if activation is known or type(activation) is known), None)


def _residual(
    graph: ChannelGraph, readers: _Readers, first: Step, twin: Step, total: Step, total_small: Step
) -> Residual | None:
    branches = []
    for step, where in ((total, _Readers(graph)), (total_small, readers)):
        layer = first if step is total else twin
        shape = layer.call.outputs[0].shape
        mine = {t.index for t in step.call.inputs if _comes_from(where, layer, t)}
        others = tuple(t for t in step.call.inputs if t.index not in mine)
        if len(mine) != 1 or not others or len(others) != len(step.call.inputs) - 1 or any(t.shape != shape for t in others):
            return None
        branches.append(others)
    return Residual((total.call, total_small.call), (branches[0], branches[1]))


def _comes_from(readers: _Readers, layer: Step, tensor: Tensor) -> bool:
    """Whether the chain of single readers behind `layer` leads to `tensor`."""
    step: Step | None = layer
    while step is not None:
        if step.call.outputs[0].index == tensor.index:
            return True
        step = readers.only(step)
    return False
