"""Which channels stay, as a value and as a file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
from rich.table import Table

from keras_taylor._output.results import StoredResult
from keras_taylor._output.tables import table
from keras_taylor._trace.cost import Cost
from keras_taylor._trace.graph import ChannelGraph
from keras_taylor.errors import BadInput, PlanMismatch, unknown_name


@dataclass(frozen=True)
class PruningPlan(StoredResult):
    """Which channels stay. A value: immutable, comparable, JSON.

    Attributes:
        kept: for every layer whose output shrinks, the kept indices along its channel axis (the last one, but for
            layers with another data format), ascending. Nested layers have a path (`"backbone/conv1"`).
        model: name of the model it was made for.
        fingerprint: hash of that model's structure; empty for a plan that was written by hand.
        before: MACs, parameters and channels of the model, and the predicted latency where that is a budget.
        after: the same, with only `kept` left.
        widths: channels that the layers which make them had before; of those that shrink.
    """

    kind = "A plan"

    kept: Mapping[str, tuple[int, ...]]
    model: str = ""
    fingerprint: str = ""
    before: Mapping[str, int] = field(default_factory=dict)
    after: Mapping[str, int] = field(default_factory=dict)
    widths: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not isinstance(self.kept, Mapping) or not all(isinstance(kept, Iterable) for kept in self.kept.values()):
            raise BadInput(
                f"kept must map layers to the channels that stay. Received: {self.kept!r}. Write {{'conv': (0, 2)}}."
            )
        object.__setattr__(self, "kept", {name: tuple(int(i) for i in kept) for name, kept in self.kept.items()})

    def fields(self) -> dict[str, Any]:
        """All attributes."""
        return {entry.name: getattr(self, entry.name) for entry in fields(self)}

    @classmethod
    def from_fields(cls, fields: dict[str, Any]) -> PruningPlan:
        """The plan with these attributes."""
        return cls(**fields)

    def parts(self) -> list[Table | str]:
        """Kept channels per layer, and what the budgets count."""
        made = table(f"Plan for {self.model or 'a model'}", ("layer", "kept>", "of>"))
        for name, width in self.widths.items() if self.widths else {name: "" for name in self.kept}.items():
            made.add_row(name, str(len(self.kept[name])), str(width))
        for budget in self.before:
            percent = 100 * self.after[budget] / max(self.before[budget], 1)
            made.add_row(f"all {budget} ({percent:.1f} %)", f"{self.after[budget]:,}", f"{self.before[budget]:,}")
        return [made]


def from_mask(graph: ChannelGraph, keep_channels: Any, cost: Cost | None = None) -> PruningPlan:
    """The plan that keeps the channels of a boolean mask, shape `(graph.channels,)`."""
    cost, keep = cost or graph.cost, graph.keep_labels(keep_channels)
    kept = {}
    for step in graph.steps:
        if len(step.outputs) == 1 and not keep[step.outputs[0].ids].all():
            kept[step.call.name] = tuple(step.outputs[0].kept(keep).tolist())
    widths = {name: len(ids) for ids, name in graph.births if name in kept}
    return PruningPlan(kept, graph.name, graph.fingerprint, cost.totals(), cost.totals(keep_channels), widths)


def check_plan(plan: Any) -> None:
    """Raise `BadInput` for anything but a plan."""
    if not isinstance(plan, PruningPlan):
        raise BadInput(
            f"plan must be a kt.PruningPlan. Received: {type(plan).__name__}. Make one with kt.plan(scores, target), or load "
            "one with kt.PruningPlan.load(path)."
        )


def to_mask(graph: ChannelGraph, plan: PruningPlan) -> Any:
    """The channels that `plan` keeps in `graph`, as a boolean mask of shape `(graph.channels,)`.

    Raises:
        BadInput: it is no plan.
        PlanMismatch: the plan is of another model, or its layers contradict each other.
    """
    check_plan(plan)
    if plan.fingerprint and plan.fingerprint != graph.fingerprint:
        raise PlanMismatch(
            f"The plan must be of this model. Received: a plan for {plan.model!r} ({plan.fingerprint}) and the model "
            f"{graph.name!r} ({graph.fingerprint}), whose layers or shapes differ. Make a new plan with kt.plan."
        )
    steps = {step.call.name: step for step in graph.steps if len(step.outputs) == 1}
    removed = np.zeros(graph.channels, bool)
    for name, kept in plan.kept.items():
        if name not in steps:
            raise unknown_name("A layer in the plan", name, steps)
        ids = steps[name].outputs[0].ids
        if list(kept) != sorted(set(kept)) or not kept or kept[0] < 0 or kept[-1] >= len(ids):
            raise PlanMismatch(
                f"The kept indices of {name!r} must be ascending and within its {len(ids)} channels, at least one. "
                f"Received: {list(kept)[:8]}{'...' if len(kept) > 8 else ''}."
            )
        removed[graph.channel[np.delete(ids, kept)]] = True
    locked = np.flatnonzero(removed & (graph.locks != ""))
    if len(locked):
        raise PlanMismatch(f"A plan must not remove locked channels. Received: one locked by {graph.locks[locked[0]]!r}.")
    keep = graph.keep_labels(~removed)
    for name, kept in plan.kept.items():
        implied = steps[name].outputs[0].kept(keep)
        if not np.array_equal(implied, kept):
            raise PlanMismatch(
                f"Tied layers must keep the same channels. Received: {len(kept)} kept in {name!r}, but what the plan removes "
                f"elsewhere leaves {len(implied)}. Remove tied channels together (see print(kt.trace(model)))."
            )
    for step in graph.steps:
        for labels in step.outputs:
            if len(labels.ids) and not keep[labels.ids].any():
                raise PlanMismatch(f"A layer must keep a channel. Received: a plan that empties {step.call.name!r}.")
    return ~removed
