"""Decide which channels stay, under a hard budget and constraints."""

from __future__ import annotations

import json
import math
import numbers
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from keras_taylor._cost import Cost
from keras_taylor._files import write_text
from keras_taylor._graph import ChannelGraph
from keras_taylor._ranking import Ranking
from keras_taylor._scores import Scores
from keras_taylor._table import render, table
from keras_taylor.errors import BadInput, InfeasibleTarget, PlanMismatch, unknown_name

_FORMAT = 1
_BUDGETS = ("macs", "params", "channels")
LATENCY = "latency_ns"
"""The budget behind `Target(latency=)` and `Target(latency_ms=)`: predicted nanoseconds."""


@dataclass(frozen=True, repr=False)
class Target:
    """A hard budget: the plan never lands above it.

    Args:
        macs: multiply-accumulates per example. A number in (0, 1] is a fraction of the unpruned model, a whole number above 1
            is absolute (1 MAC is 1). The two others are read in the same way.
        params: parameters, trainable or not.
        channels: feature maps: the filters and units of all producers.
        latency: time of one example in LiteRT on this machine, as a fraction in (0, 1] of the unpruned file's.
        latency_ms: the same in milliseconds.
        quantizer: the precision of the file whose latency counts, as `kt.quantize` takes it; None is float32.
        threads: of the interpreter that is timed.

    Raises:
        BadInput: no budget at all, or a number that is neither a fraction nor a count.

    Example:
        >>> import keras_taylor as kt
        >>> kt.Target(macs=0.5, params=1_000_000)
        Target(macs=0.5, params=1000000)
        >>> kt.Target(latency=0.5, quantizer=kt.Float16())
        Target(latency=0.5, quantizer=Float16(), threads=1)
    """

    macs: float | int | None = None
    params: float | int | None = None
    channels: float | int | None = None
    latency: float | None = None
    latency_ms: float | None = None
    quantizer: Any = None
    threads: int = 1

    def __post_init__(self) -> None:
        given = self._given((*_BUDGETS, "latency", "latency_ms"))
        if not given:
            raise BadInput(
                "Target must have a budget. Received: none of macs, params, channels, latency. Try Target(macs=0.5)."
            )
        for name, value in given.items():
            real = isinstance(value, numbers.Real) and not isinstance(value, bool)
            positive = real and 0 < float(value) < float("inf")
            if name in _BUDGETS and not (positive and (value <= 1 or value == int(value))):
                raise BadInput(
                    f"Target({name}=) must be a fraction in (0, 1] or a whole number above 1. Received: {name}={value!r}."
                )
            if not positive or (name == "latency" and value > 1):
                kind = "a fraction in (0, 1]; latency_ms= takes milliseconds" if name == "latency" else "a positive number"
                raise BadInput(f"Target({name}=) must be {kind}. Received: {name}={value!r}.")
        if len(self._given(("latency", "latency_ms"))) > 1:
            raise BadInput(f"Target must have one of latency and latency_ms. Received: {self}. Leave one out.")
        if self.quantizer is not None and not self.timed:
            raise BadInput(
                f"Target(quantizer=) must go with a latency. Received: {self}. Quantize the result with kt.quantize."
            )
        if not isinstance(self.threads, int) or isinstance(self.threads, bool) or self.threads < 1:
            raise BadInput(f"Target(threads=) must be a whole number of at least 1. Received: {self.threads!r}.")

    @property
    def timed(self) -> bool:
        """Whether a latency is among the budgets."""
        return bool(self._given(("latency", "latency_ms")))

    def absolute(self, totals: Mapping[str, int]) -> dict[str, float]:
        """The budgets as numbers, given the unpruned totals."""
        budgets = {name: value * totals[name] if value <= 1 else float(value) for name, value in self._given(_BUDGETS).items()}
        if self.latency is not None:
            budgets[LATENCY] = self.latency * totals[LATENCY]
        if self.latency_ms is not None:
            budgets[LATENCY] = self.latency_ms * 1e6
        return budgets

    def _given(self, names: Sequence[str]) -> dict[str, Any]:
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}

    def __repr__(self) -> str:
        parts = [f"{name}={value!r}" for name, value in self._given((*_BUDGETS, "latency", "latency_ms")).items()]
        if self.timed:
            parts += [f"quantizer={self.quantizer!r}", f"threads={self.threads}"]
        return f"Target({', '.join(parts)})"


@dataclass(frozen=True)
class Constraints:
    """What a plan must respect.

    Args:
        min_channels: every producer keeps at least this many (or all, if it has fewer).
        round_to: a producer that shrinks keeps a multiple of this; 8 suits XNNPACK and GPUs. Among tied producers of different
            widths it holds for the widest. None is 1; with a latency budget, `kt.prune` and `kt.fit_with_pruning` then choose
            what keeps most under the budget, by measurement.
        keep: names of layers whose channels all stay, or a predicate on the name.
        bounds: for single layers `(at least, at most)`: ints count channels, floats are fractions of the layer's width.

    Raises:
        BadInput: a number that is out of range.

    Example:
        >>> import keras_taylor as kt
        >>> kt.Constraints(round_to=8, keep=["stem"], bounds={"block3_conv": (0.25, 0.75)}).round_to
        8
    """

    min_channels: int = 1
    round_to: int | None = None
    keep: Sequence[str] | Callable[[str], bool] = ()
    bounds: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("min_channels", "round_to"):
            value = getattr(self, name)
            if name == "round_to" and value is None:
                continue
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise BadInput(f"Constraints({name}=) must be a whole number of at least 1. Received: {value!r}.")
        if isinstance(self.keep, str):
            raise BadInput(f"Constraints(keep=) must be a list of names or a predicate. Received: {self.keep!r}.")
        for layer, bound in self.bounds.items():
            if not isinstance(bound, (tuple, list)) or len(bound) != 2 or not 0 <= bound[0] <= bound[1] or bound[1] <= 0:
                raise BadInput(f"Constraints(bounds=) must map a layer to (at least, at most). Received: {layer!r}: {bound!r}.")

    def kept_layers(self, names: Sequence[str]) -> list[str]:
        """The layers among `names` that `keep` names; an unknown name is an error with the nearest match."""
        if callable(self.keep):
            return [name for name in names if self.keep(name)]
        for name in self.keep:
            if name not in names:
                raise unknown_name("A layer in Constraints(keep=)", name, names)
        return list(self.keep)


@dataclass(frozen=True)
class PruningPlan:
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

    kept: Mapping[str, tuple[int, ...]]
    model: str = ""
    fingerprint: str = ""
    before: Mapping[str, int] = field(default_factory=dict)
    after: Mapping[str, int] = field(default_factory=dict)
    widths: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "kept", {name: tuple(int(i) for i in kept) for name, kept in self.kept.items()})

    def to_json(self) -> str:
        """The plan as JSON text, with a format version."""
        kept = ",\n".join(f"  {json.dumps(name)}: {json.dumps(list(kept))}" for name, kept in self.kept.items())
        fields = {"format": _FORMAT, "model": self.model, "fingerprint": self.fingerprint}
        fields |= {"before": self.before, "after": self.after, "widths": self.widths}
        lines = ",\n".join(f" {json.dumps(name)}: {json.dumps(value)}" for name, value in fields.items())
        return f'{{\n{lines},\n "kept": {{\n{kept}\n }}\n}}'

    @classmethod
    def from_json(cls, text: str) -> PruningPlan:
        """The plan that `to_json` wrote.

        Raises:
            BadInput: the text is not a plan, or one of a newer format.
        """
        try:
            data = json.loads(text)
            version = data.pop("format")
            if version == _FORMAT:
                return cls(**data)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise BadInput(f"A plan must be JSON as PruningPlan.save writes it. Received: {error!r}.") from None
        raise BadInput(f"The format of a plan must be {_FORMAT}. Received: {version!r}. Update keras_taylor.")

    def save(self, path: str | Path) -> None:
        """Write JSON to `path`, at once or not at all."""
        write_text(path, self.to_json())

    @classmethod
    def load(cls, path: str | Path) -> PruningPlan:
        """Read what `save` wrote."""
        return cls.from_json(Path(path).read_text(encoding="utf-8"))

    def __str__(self) -> str:
        made = table(f"Plan for {self.model or 'a model'}", ("layer", "kept>", "of>"))
        for name, width in self.widths.items() if self.widths else {name: "" for name in self.kept}.items():
            made.add_row(name, str(len(self.kept[name])), str(width))
        for budget in self.before:
            percent = 100 * self.after[budget] / max(self.before[budget], 1)
            made.add_row(f"all {budget} ({percent:.1f} %)", f"{self.after[budget]:,}", f"{self.before[budget]:,}")
        return render(made)


def plan(scores: Scores, target: Target, constraints: Constraints | None = None, *, rank: str = "saving") -> PruningPlan:
    """Decide which channels stay: remove the least important ones until the budget is met.

    The budget is hard, and the result is as close under it as one channel (one rounding block) allows.

    Args:
        scores: from `kt.score`, or your own `kt.Scores(kt.trace(model), values)`.
        target: the budget. A latency is a matter of `kt.prune` and `kt.fit_with_pruning`, which time the file.
        constraints: what must be respected.
        rank: `"saving"` ranks by score per unit of budget that a removal saves, re-evaluated as the net shrinks (a knapsack);
            `"score"` is the plain order of the scores, as in the paper.

    Returns:
        An immutable plan; `print(plan)` before you apply it with `kt.rebuild`.

    Raises:
        BadInput: an unknown `rank`, or a target with a latency.
        InfeasibleTarget: the budget cannot be reached; says the smallest reachable value and the locks in the way.
        UnknownName: a layer name in `constraints` that the model does not have.

    Example:
        >>> import keras, numpy as np, keras_taylor as kt
        >>> model = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(8, 3, name="conv"),
        ...                           keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(2)])
        >>> graph = kt.trace(model)
        >>> scores = kt.Scores(graph, np.arange(graph.channels, dtype=float))
        >>> kt.plan(scores, kt.Target(macs=0.5)).kept["conv"]
        (4, 5, 6, 7)

    References:
        Molchanov et al. 2017, section 2.1 (greedy removal); the ranking per saving is a greedy knapsack.
    """
    check_rank(rank)
    for name, value, kind in (("scores", scores, Scores), ("target", target, Target)):
        if not isinstance(value, kind):
            raise BadInput(f"{name} of plan must be a kt.{kind.__name__}. Received: {type(value).__name__}.")
    check_constraints(constraints)
    graph, rules = scores.graph, constraints or Constraints()
    check_names(graph, rules)
    if target.timed:
        raise BadInput(
            f"target of plan must be counted, not timed. Received: {target}. kt.prune and kt.fit_with_pruning time it."
        )
    return decide(scores, target.absolute(totals(graph)), rules, rank=rank, cost=graph.cost, asked=target)


def check_names(graph: ChannelGraph, rules: Constraints) -> None:
    """Raise `UnknownName` unless the layers that the constraints name are in the graph."""
    names = [name for _, name in graph.births]
    rules.kept_layers(names)
    for name in rules.bounds:
        if name not in names:
            raise unknown_name("A layer in Constraints(bounds=)", name, names)


def decide(
    scores: Scores, budgets: Mapping[str, float], rules: Constraints, *, rank: str, cost: Cost, asked: object
) -> PruningPlan:
    """`plan` for absolute budgets that `cost` can count; `asked` is what an error says was asked for."""
    graph = scores.graph
    ranking = Ranking(
        graph,
        scores.values,
        cost=cost,
        budgets=budgets,
        by_saving=rank == "saving",
        keep=rules.kept_layers([name for _, name in graph.births]),
        round_to=rules.round_to or 1,
        lower={name: _lower(rules, name, len(ids)) for ids, name in graph.births},
        upper={name: count_bound(rules.bounds[name][1], len(ids)) for ids, name in graph.births if name in rules.bounds},
    )
    if not ranking.run():
        raise _infeasible(graph, budgets, rules, ranking, asked)
    return from_mask(graph, ranking.keep, cost)


def check_rank(rank: str) -> None:
    """Raise `BadInput` unless `rank` is known."""
    if rank not in ("saving", "score"):
        raise BadInput(f"rank must be 'saving' or 'score'. Received: {rank!r}.")


def check_constraints(constraints: Constraints | None) -> None:
    """Raise `BadInput` unless `constraints` are such."""
    if constraints is not None and not isinstance(constraints, Constraints):
        raise BadInput(f"constraints must be kt.Constraints. Received: {constraints!r}. Write kt.Constraints(round_to=8).")


def totals(graph: ChannelGraph, keep: Any = None, cost: Cost | None = None) -> dict[str, int]:
    """All that `cost` (the graph's own, by default) counts, with the channels of the boolean mask `keep` (all, by default)."""
    cost = cost or graph.cost
    counts = cost.full if keep is None else cost.counts(keep)
    return {budget: cost.total(budget, counts) for budget in cost.budgets}


def from_mask(graph: ChannelGraph, keep_channels: Any, cost: Cost | None = None) -> PruningPlan:
    """The plan that keeps the channels of a boolean mask, shape `(graph.channels,)`."""
    keep = graph.keep_labels(keep_channels)
    kept = {}
    for step in graph.steps:
        if len(step.outputs) == 1 and not keep[step.outputs[0].ids].all():
            kept[step.call.name] = tuple(step.outputs[0].kept(keep).tolist())
    widths = {name: len(ids) for ids, name in graph.births if name in kept}
    return PruningPlan(
        kept, graph.name, graph.fingerprint, totals(graph, cost=cost), totals(graph, keep_channels, cost), widths
    )


def to_mask(graph: ChannelGraph, plan: PruningPlan) -> Any:
    """The channels that `plan` keeps in `graph`, as a boolean mask of shape `(graph.channels,)`.

    Raises:
        PlanMismatch: the plan is of another model, or its layers contradict each other.
    """
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


def _lower(rules: Constraints, name: str, width: int) -> int:
    bound = count_bound(rules.bounds[name][0], width) if name in rules.bounds else 1
    return min(max(rules.min_channels, bound), width)


def count_bound(bound: float, width: int) -> int:
    """A bound of `Constraints` in channels."""
    count = bound if isinstance(bound, numbers.Integral) else round(bound * width)
    return min(max(int(count), 1), width)


def _infeasible(
    graph: ChannelGraph, budgets: Mapping[str, float], rules: Constraints, ranking: Ranking, asked: object
) -> InfeasibleTarget:
    full = totals(graph, cost=ranking.cost)
    reached = totals(graph, ranking.keep, ranking.cost)
    missed = [
        f"{name}: asked {wanted:,.0f}, smallest reachable {reached[name]:,} ({reached[name] / full[name]:.3f} of all)"
        for name, wanted in budgets.items()
        if reached[name] > wanted
    ]
    missed += [f"bounds of {name}: asked at most {most}, smallest reachable {now}" for name, most, now in ranking.over()]
    if reached.get(LATENCY, 0) > budgets.get(LATENCY, math.inf):
        missed.append("on this device, in this precision, parts of the model take the same time at any width")
    locks = [f"{group.name} ({group.reason})" for group in graph.groups if group.locked]
    return InfeasibleTarget(
        f"Target must be reachable. Received: {asked}, {rules}. {'; '.join(missed)}. Locks in the way: "
        f"{'; '.join(locks[:6])}{f' and {len(locks) - 6} more' if len(locks) > 6 else ''}. "
        "Ask for more, or loosen the constraints (min_channels, round_to, keep, bounds)."
    )
