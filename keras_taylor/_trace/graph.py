"""Trace a model: which channels exist, which are tied, which are locked, and why."""

from __future__ import annotations

import copy
import hashlib
from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.table import Table
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from keras_taylor._keras.program import Program, flatten
from keras_taylor._output.results import Result
from keras_taylor._output.tables import table
from keras_taylor._trace.copies import Copies, lock_copies, try_copies
from keras_taylor._trace.cost import Cost
from keras_taylor._trace.hidden_kernels import hidden_kernels
from keras_taylor.errors import listed
from keras_taylor.rules import Ids, Keep, Labeller, Labels, LayerRule, Lock, LockReason, Step, rule_for


@dataclass(frozen=True, eq=False)
class LayerGroup:
    """The channels that share one set of producers: scores are normalised and counts rounded in it.

    Attributes:
        producers: names of the operations that give birth to the channels.
        channels: their numbers in the graph, ascending.
        locked: how many of them may not be removed.
        reason: why, or an empty string.
    """

    producers: tuple[str, ...]
    channels: NDArray[np.int64]
    locked: int
    reason: Lock | str

    @property
    def name(self) -> str:
        """The producers in a few words."""
        first, *rest = self.producers
        return f"{first} + {len(rest)} tied" if rest else first


class ChannelGraph(Result):
    """The channels of a model. Made by `kt.trace`; read-only.

    Attributes:
        model: the model that was traced.
        name: of the model.
        program: the flat list of calls.
        steps: each call with its rule and the labels around it.
        channel: channel number of every label, shape `(labels,)`.
        locks: for every channel the reason why it may not be removed (a `kt.rules.Lock`, which is a string), or an empty one.
        groups: the layer groups, in the order of their first producer.
        copies: which layers can be made again from their configs, and which weights several of them share.
        cost: MACs and parameters as functions of what is kept.
        uncounted: operations whose MACs cannot be counted, with the reason; empty for most models.
    """

    def __init__(self, model: Any, program: Program, steps: Sequence[Step], labels: Labeller, copies: Copies) -> None:
        self.model = model
        self.name: str = model.name
        self.program = program
        self.steps = tuple(steps)
        self.channel = _components(labels)
        self.locks = self._locks(labels)
        self.births = tuple((ids, call.name) for ids, call in labels.births)
        self.groups = self._groups()
        self.copies = copies

    @cached_property
    def cost(self) -> Cost:
        """MACs and parameters as functions of what is kept."""
        kernels = hidden_kernels(self.program, self.steps)
        return Cost(self.steps, [ids for ids, _ in self.births], self.channel, self.channels, kernels)

    @property
    def channels(self) -> int:
        """The number of channels: classes of tied labels."""
        return int(self.channel.max(initial=-1)) + 1

    @property
    def macs(self) -> int:
        """Multiply-accumulates per example of the whole model; 1 MAC is 1.

        Operations without a rule count, too: layers inside layers, attention with its products, recurrent cells times steps.
        What cannot be counted is in `uncounted`.
        """
        return self.cost.macs(self.cost.full)

    @property
    def uncounted(self) -> dict[str, str]:
        """Operations whose MACs cannot (all) be counted, with the reason. A `kt.Target(macs=)` is refused then."""
        return dict(self.cost.uncounted)

    @property
    def params(self) -> int:
        """Parameters, trainable or not."""
        return self.cost.params(self.cost.full)

    @property
    def locked(self) -> dict[str, Lock]:
        """Producers that have locked channels, with the first reason: a text, whose `reason` is its kind."""
        return {name: group.reason for group in self.groups if isinstance(group.reason, Lock) for name in group.producers}

    @property
    def locked_by_reason(self) -> dict[LockReason, tuple[str, ...]]:
        """The same grouped by the kind of reason: the producers whose first reason is of this kind."""
        found: defaultdict[LockReason, list[str]] = defaultdict(list)
        for name, lock in self.locked.items():
            found[lock.reason].append(name)
        return {reason: tuple(names) for reason, names in found.items()}

    @cached_property
    def fingerprint(self) -> str:
        """Hash of names, operations and shapes: two models with the same one take the same plans."""
        facts = [
            (step.call.name, type(step.call.operation).__name__, [t.shape for t in step.call.outputs]) for step in self.steps
        ]
        return hashlib.sha256(repr(facts).encode()).hexdigest()[:16]

    def keep_labels(self, keep_channels: Keep) -> Keep:
        """A boolean per label from a boolean per channel."""
        return keep_channels[self.channel]

    def locking(self, producers: Collection[str], detail: str) -> ChannelGraph:
        """This graph with all channels of some producers locked, too.

        Args:
            producers: names of the operations that give birth to the channels.
            detail: why, for people to read.
        """
        made = copy.copy(self)
        made.locks = self.locks.copy()
        for ids, name in self.births:
            if name in producers:
                found = self.channel[ids]
                made.locks[found[made.locks[found] == ""]] = Lock(detail)
        made.groups = made._groups()
        return made

    def _locks(self, labels: Labeller) -> NDArray[np.object_]:
        reasons = np.full(self.channels, "", dtype=object)
        for ids, reason in labels.locks:
            found = self.channel[ids]
            reasons[found[reasons[found] == ""]] = reason
        return reasons

    def _groups(self) -> tuple[LayerGroup, ...]:
        parents: defaultdict[int, list[int]] = defaultdict(list)
        for number, (ids, _) in enumerate(self.births):
            for channel in np.unique(self.channel[ids]).tolist():
                parents[channel].append(number)
        members: defaultdict[tuple[int, ...], list[int]] = defaultdict(list)
        for channel in sorted(parents):
            members[tuple(parents[channel])].append(channel)
        groups = []
        for producers, channels in sorted(members.items()):
            reasons = [r for r in self.locks[channels] if r]
            names = tuple(self.births[number][1] for number in producers)
            groups.append(LayerGroup(names, np.array(channels), len(reasons), reasons[0] if reasons else ""))
        return tuple(groups)

    @cached_property
    def notes(self) -> tuple[str, ...]:
        """What is to know about the MACs: what stays as it is, what is left out, and lengths that are not known."""
        found, hidden = [], self.cost.hidden
        if hidden:
            share = 100 * sum(hidden.values()) / self.macs
            found.append(
                f"{_si(sum(hidden.values()))}MACs ({share:.1f} %) are in kernels that no rule follows; they stay as they are: "
                f"{listed(hidden, most=8)}."
            )
        if self.uncounted:
            named = [f"{name} ({reason})" for name, reason in self.uncounted.items()]
            found.append(f"MACs that cannot be counted are left out: {listed(named, most=8)}.")
        if any(None in tensor.shape[1:] for tensor in self.program.inputs) and self.macs:
            found.append("Unknown lengths count as 1: MACs are those of one position. Trace a model with a full input shape.")
        return tuple(found)

    def parts(self) -> Sequence[Table | str]:
        """A table of the layer groups, with channels, costs, ties and locks."""
        title = f"{self.name}: {_si(self.macs)}MACs, {_si(self.params)}params (1 MAC = 1)"
        columns = ("layer group", "channels>", "locked>", "MACs>", "params>", "tied to", "why locked")
        made = table(title, columns, caption="\n".join(self.notes))
        macs, params = self.cost.by_layer()
        for group in self.groups:
            first, *tied = group.producers
            made.add_row(
                first,
                str(len(group.channels)),
                str(group.locked),
                _si(sum(macs.get(name, 0) for name in group.producers)),
                _si(sum(params.get(name, 0) for name in group.producers)),
                listed(tied, most=3),
                group.reason,
            )
        return [made]

    def __repr__(self) -> str:
        return f"<ChannelGraph {self.name!r}: {self.channels} channels, {self.macs:,} MACs, {self.params:,} params>"


def trace(model: Any) -> ChannelGraph:
    """Trace the channels of a Functional or Sequential model, nested models and shared layers included.

    What no rule describes is locked, with a reason; it is never assumed to be harmless. Its multiply-accumulates are counted
    all the same, so that shares are of the whole model; where that is impossible, `graph.uncounted` and `graph.notes` say so.

    Args:
        model: a built `keras.Model`. It is read, never changed.

    Returns:
        The graph; `print(graph)` is a table of layer groups, channels, MACs, parameters, ties and locks.

    Raises:
        UnsupportedModel: the model is not built, or is subclassed.

    Example:
        >>> import keras, keras_taylor as kt
        >>> graph = kt.trace(keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(4, 3, name="conv"),
        ...                                    keras.layers.Flatten(), keras.layers.Dense(2, name="logits")]))
        >>> graph.macs == 6 * 6 * 3 * 3 * 3 * 4 + 6 * 6 * 4 * 2
        True
        >>> graph.locked
        {'logits': 'model output'}
    """
    program = flatten(model)
    labels = Labeller()
    for number, tensor in enumerate(program.inputs):
        labels[tensor] = _input_labels(labels, tensor.shape, number)
    steps: list[Step] = []
    first: dict[int, Step] = {}
    for call in program.calls:
        rule, reason = rule_for(call.operation)
        traced = rule.trace(call, labels) if rule else labels.refuse(call, reason, LockReason.NO_RULE)
        given = tuple(labels[tensor] for tensor in call.inputs)
        for tensor, found in zip(call.outputs, traced.outputs, strict=True):
            labels[tensor] = found
        step = Step(call, rule or _LOCKED, given, traced.outputs, traced.axes, traced.consumes)
        _tie_shared(labels, first.setdefault(id(call.operation), step), step)
        steps.append(step)
    for tensor in program.outputs:
        labels.lock(labels[tensor].ids, "model output", LockReason.MODEL_OUTPUT)
    copies = try_copies(steps)
    lock_copies(copies, steps, labels)
    return ChannelGraph(model, program, steps, labels, copies)


def as_graph(model: Any) -> ChannelGraph:
    """The graph of a model; a graph is passed on, so that what is traced once need not be traced again."""
    return model if isinstance(model, ChannelGraph) else trace(model)


_LOCKED = LayerRule()
"""Stands in for a missing rule: nothing about the operation changes."""


def _input_labels(labels: Labeller, shape: tuple[int | None, ...], number: int) -> Labels:
    if len(shape) < 2 or shape[-1] is None:
        return labels.unlabelled()
    ids = labels.fresh(shape[-1])
    labels.lock(ids, "model input", LockReason.MODEL_INPUT)
    return Labels(len(shape) - 1, ids)


def _tie_shared(labels: Labeller, first: Step, step: Step) -> None:
    """All calls of an operation share its kernel and its configuration, so their labels are the same channels."""
    if step is first:
        return
    configured = step.rule.config or type(step.rule).remake is not LayerRule.remake
    if configured and not getattr(step.call.operation, "weights", ()):
        for one, other in zip(first.outputs, step.outputs, strict=True):
            if len(one.ids) == len(other.ids):
                labels.tie(one.ids, other.ids)
            else:
                text = f"{step.call.name} is shared between different shapes"
                labels.lock(np.concatenate([one.ids, other.ids]), text, LockReason.SHARED)
        return
    if not getattr(step.call.operation, "weights", ()):
        return
    if step.axes.keys() != first.axes.keys():
        reason = f"{step.call.name} is shared, and cannot be followed in all of its calls"
        for ids in (*first.axes.values(), *step.axes.values()):
            labels.lock(ids, reason, LockReason.SHARED)
        return
    for axis, ids in step.axes.items():
        labels.tie(first.axes[axis], ids)


def _components(labels: Labeller) -> Ids:
    """Channel number of every label: the connected components of the ties, numbered by first appearance."""
    if not labels.ties:
        return np.arange(labels.count, dtype=np.int64)
    a, b = (np.concatenate([pair[side].ravel() for pair in labels.ties]) for side in (0, 1))
    edges = coo_array((np.ones(len(a), np.int8), (a, b)), shape=(labels.count, labels.count))
    _, component = connected_components(edges, directed=False)
    _, inverse = np.unique(component, return_inverse=True)
    return inverse.astype(np.int64)


def _si(number: float) -> str:
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(number) >= size:
            return f"{number / size:.4g} {unit}"
    return f"{number:.4g} "
