"""What is locked in a model, and how many multiply-accumulates cannot go."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from keras_taylor._plan.constraints import Constraints
from keras_taylor._plan.knapsack import Mask
from keras_taylor._trace.graph import ChannelGraph


@dataclass(frozen=True)
class LockedLayer:
    """A layer, or layers that are tied, some of whose channels may not go.

    Attributes:
        name: of the layers, in a few words.
        reason: why, in words.
        channels: how many of its channels are locked.
        macs: multiply-accumulates per example that it computes now.
        stays: those of them that are left in the smallest model that can be reached.
    """

    name: str
    reason: str
    channels: int
    macs: int
    stays: int


def locked_layers(graph: ChannelGraph, constraints: Constraints, least: Mask) -> tuple[LockedLayer, ...]:
    """What is locked by the model or by the constraints, what costs most first.

    Args:
        graph: of the model.
        constraints: whose `keep` locks layers, too.
        least: what stays in the smallest model that can be reached, a boolean per channel.
    """
    found = _locked(graph, constraints, least)
    return tuple(sorted(found, key=lambda one: (-one.stays, one.name)))


def _locked(graph: ChannelGraph, constraints: Constraints, least: Mask) -> Iterator[LockedLayer]:
    now, then = (graph.cost.by_layer(counts)[0] for counts in (graph.cost.full, graph.cost.counts(least)))
    kept = set(constraints.kept_layers([name for _, name in graph.births]))
    listed: set[str] = set()
    for group in graph.groups:
        keep = not kept.isdisjoint(group.producers)
        if not group.locked and not keep:
            continue
        listed.update(group.producers)
        macs, stays = (round(sum(found.get(name, 0.0) for name in group.producers)) for found in (now, then))
        locked = len(group.channels) if keep else group.locked
        yield LockedLayer(group.name, str(group.reason) or "Constraints(keep=)", locked, macs, stays)
    for name, hidden in graph.cost.hidden.items():
        if name not in listed:
            yield LockedLayer(name, "no rule follows its kernels", 0, round(hidden), round(hidden))
