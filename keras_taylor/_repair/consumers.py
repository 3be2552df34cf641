"""Which layers are refitted, in which order, and what stands around each of them."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

from keras_taylor._keras.program import Call, Tensor
from keras_taylor._rebuild.rebuild import flat_names
from keras_taylor._trace.graph import ChannelGraph
from keras_taylor.rules import UNCLIPPED, BatchStatistics, ClipRange, Keep, Linear, Step


@dataclass(frozen=True, eq=False)
class Residual:
    """A sum that a layer's outputs go into, perhaps after a BatchNormalization.

    Attributes:
        call: the sum in the original, and its twin in the small model.
        others: its other operands in the original, and their twins.
    """

    call: tuple[Call, Call]
    others: tuple[tuple[Tensor, ...], tuple[Tensor, ...]]


@dataclass(frozen=True, eq=False)
class Consumer:
    """A layer whose inputs pruning changed, in the original and in the small model.

    Attributes:
        name: of the layer in the original.
        original: the layer in the original.
        small: the layer in the small model.
        calls: the calls of the layer in the original, and their twins in the small model, in the small model's order.
        linear: the original layer as a matrix product.
        linear_small: the small layer as a matrix product.
        kept_out: positions of the original's outputs that the small layer still has.
        norm: the BatchNormalization that reads nothing but this layer's outputs, in both models, or None.
        residual: the sum that this layer's outputs go into, or None.
        clip_range: what the one reader of the outputs (behind `norm` and `residual`) clips them to: after a ReLU, (0, inf),
            any value below 0 is as good as another. None where something else, or more than one operation, reads them.
    """

    name: str
    original: Any
    small: Any
    calls: tuple[tuple[Call, Call], ...]
    linear: Linear
    linear_small: Linear
    kept_out: Any
    norm: tuple[BatchStatistics, BatchStatistics] | None
    residual: Residual | None
    clip_range: ClipRange | None


def consumers(graph: ChannelGraph, keep: Keep, small: ChannelGraph, frozen: bool) -> list[Consumer]:
    """The layers to refit, in the order in which the small model runs them.

    Args:
        graph: of the original.
        keep: a boolean per label of it: what is left in the small model.
        small: graph of the small model.
        frozen: whether layers that are not trainable are refitted too.
    """
    changed = changed_steps(graph, keep)
    chosen = []
    for steps, mine in paired_steps(graph, small):
        first = steps[0]
        layer = first.call.operation
        if locked(graph, first) or not (frozen or getattr(layer, "trainable", False)):
            continue
        if not any(id(step) in changed for step in steps) or getattr(layer, "data_format", None) == "channels_first":
            continue
        linear = first.rule.linear(layer)
        if linear is not None:
            chosen.append((steps, mine, linear))
    names = flat_names(graph)
    original = {names[step.call.name]: step for step in graph.steps}
    readers = _Readers(small)
    found = []
    for steps, mine, linear in chosen:
        first, twin = steps[0], mine[0]
        own = first.rule.activation_range(first.call.operation)
        norm, total, behind = readers.follow(twin) if len(mine) == 1 and own == UNCLIPPED else (None, None, None)
        residual = _residual(graph, readers, first, twin, original[total.call.name], total) if total else None
        if norm is not None and not (norm.call.operation.trainable or frozen):
            norm = residual = behind = None
        if total is not None and residual is None:
            behind = None  # what else goes into the sum is not known
        found.append(
            Consumer(
                first.call.name,
                first.call.operation,
                twin.call.operation,
                tuple((a.call, b.call) for a, b in zip(steps, mine, strict=True)),
                linear,
                twin.rule.linear(twin.call.operation),  # type: ignore[arg-type]
                first.outputs[0].kept(keep),
                paired_statistics(original[norm.call.name], norm) if norm else None,
                residual,
                behind if own == UNCLIPPED else own,
            )
        )
    order = {id(step.call): number for number, step in enumerate(small.steps)}
    return sorted(found, key=lambda one: order[id(one.calls[0][1])])


def paired_steps(graph: ChannelGraph, small: ChannelGraph) -> list[tuple[list[Step], list[Step]]]:
    """For each operation of the original its steps, and those of its copy in the small model, where they are as many."""
    names = flat_names(graph)
    twins: defaultdict[str, list[Step]] = defaultdict(list)
    for step in small.steps:
        twins[step.call.name.split("@")[0]].append(step)
    calls: defaultdict[int, list[Step]] = defaultdict(list)
    for step in graph.steps:
        calls[id(step.call.operation)].append(step)
    pairs = [(steps, twins[names[steps[0].call.name]]) for steps in calls.values()]
    return [(steps, mine) for steps, mine in pairs if len(steps) == len(mine)]


def paired_statistics(original: Step, small: Step) -> tuple[BatchStatistics, BatchStatistics] | None:
    """The statistics of a normalisation in both models; None for anything else."""
    there, here = (step.rule.batch_statistics(step.call.operation) for step in (original, small))
    return None if there is None or here is None else (there, here)


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

    def follow(self, step: Step) -> tuple[Step | None, Step | None, ClipRange | None]:
        """What alone reads the outputs of a layer: perhaps a BatchNormalization, then perhaps a sum, and what clips those.

        Operations that pass their input on unchanged in inference do not count.

        Returns:
            The BatchNormalization or None, the sum or None, and the range to which the reader behind them clips, or None.
        """
        norm = reader = self.only(step)
        if norm is None or norm.rule.batch_statistics(norm.call.operation) is None or "out" not in norm.axes:
            norm = None
        else:
            reader = self.only(norm)
        reader = self._past_identities(reader)
        total = reader if reader is not None and reader.rule.adds_inputs else None
        if total is not None:
            reader = self._past_identities(self.only(total))
        return norm, total, reader.rule.clip_range(reader.call.operation) if reader is not None else None

    def _past_identities(self, reader: Step | None) -> Step | None:
        """The first reader, from this one on, that does something in inference."""
        while reader is not None and reader.rule.identity_in_inference:
            reader = self.only(reader)
        return reader


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
