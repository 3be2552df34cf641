"""Decide which channels stay, under a hard budget and constraints."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from keras_taylor._plan.constraints import Constraints, check_names, constraints_for
from keras_taylor._plan.knapsack import Mask, Ranking
from keras_taylor._plan.pruning_plan import PruningPlan, from_mask
from keras_taylor._plan.target import LATENCY, Target
from keras_taylor._score.scores import Scores
from keras_taylor._trace.cost import Cost
from keras_taylor._trace.graph import ChannelGraph
from keras_taylor.errors import BadInput, InfeasibleTarget, listed, shown


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
        BadInput: something else than scores or a target, an unknown `rank`, a target with a latency, or one of MACs for a
            model that has none, or has operations whose MACs cannot be counted (see `kt.Target`).
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
    if not isinstance(scores, Scores):
        raise BadInput(
            f"scores must be kt.Scores. Received: {type(scores).__name__}. Make them with kt.score(model, x, y), or with "
            "kt.Scores(kt.trace(model), values)."
        )
    check_target(target)
    graph, rules = scores.graph, constraints_for(constraints)
    check_names(graph, rules)
    if target.timed:
        raise BadInput(
            f"target of plan must be counted, not timed. Received: {target}. kt.prune and kt.fit_with_pruning time it."
        )
    check_counted(graph, target)
    return decide(scores, target.absolute(graph.cost.totals()), rules, rank=rank, cost=graph.cost, asked=target)


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
        constraints=rules,
    )
    if not ranking.run():
        raise _infeasible(graph, budgets, rules, ranking, asked)
    return from_mask(graph, ranking.keep, cost)


def smallest(scores: Scores, rules: Constraints, *, rank: str, cost: Cost) -> Mask:
    """The channels that stay where as few multiply-accumulates as possible are asked for: a boolean per channel."""
    ranking = Ranking(
        scores.graph, scores.values, cost=cost, budgets={"macs": 0.0}, by_saving=rank == "saving", constraints=rules
    )
    ranking.run()
    return ranking.keep


def check_counted(graph: ChannelGraph, target: Target) -> None:
    """Raise `BadInput` for a budget of MACs where they cannot be counted, unless the target accepts the gap."""
    if target.macs is None:
        return
    others = "Budget something else (params, channels, latency)"
    gaps = [f"{name} ({reason})" for name, reason in graph.uncounted.items()]
    if gaps and not target.allow_uncounted:
        raise BadInput(
            f"Target(macs=) must be for a model whose MACs can be counted. Received: {target} for {graph.name!r}, where those "
            f"of {listed(gaps, most=4, what='more operations')} cannot. {others}, or accept that they are left out "
            f"with allow_uncounted=True, as in kt.Target(macs={target.macs!r}, allow_uncounted=True)."
        )
    if not graph.macs:
        raise BadInput(
            f"Target(macs=) must be for a model with multiply-accumulates. Received: {target} for {graph.name!r}, which has 0 "
            f"MACs{' but for what cannot be counted' if gaps else ''}: no kernel and no product of tensors. {others}."
        )


def check_target(target: Any) -> None:
    """Raise `BadInput`, saying what to write, unless `target` is one (a bare number is not)."""
    if not isinstance(target, Target):
        raise BadInput(f"target must be a kt.Target. Received: {target!r}. Write kt.Target(macs=0.5) to keep half.")


def check_rank(rank: str) -> None:
    """Raise `BadInput` unless `rank` is known."""
    if rank not in ("saving", "score"):
        raise BadInput(f"rank must be 'saving' or 'score'. Received: {shown(rank)}.")


def _infeasible(
    graph: ChannelGraph, budgets: Mapping[str, float], rules: Constraints, ranking: Ranking, asked: object
) -> InfeasibleTarget:
    full = ranking.cost.totals()
    reached = ranking.cost.totals(ranking.keep)
    missed = [
        f"{name}: asked {wanted:,.0f}, smallest reachable {reached[name]:,} ({reached[name] / full[name]:.3f} of all)"
        for name, wanted in budgets.items()
        if reached[name] > wanted
    ]
    missed += [f"bounds of {name}: asked at most {most}, smallest reachable {now}" for name, most, now in ranking.over()]
    if reached.get(LATENCY, 0) > budgets.get(LATENCY, math.inf):
        missed.append("on this device, in this precision, parts of the model take the same time at any width")
    fixed = graph.cost.hidden
    if fixed and reached.get("macs", 0) > budgets.get("macs", math.inf):
        names = listed(fixed, most=4, what="more layers")
        missed.append(f"{round(sum(fixed.values())):,} MACs are in kernels that no rule follows ({names})")
    locks = [f"{group.name} ({group.reason})" for group in graph.groups if group.locked]
    return InfeasibleTarget(
        f"Target must be reachable. Received: {asked}, {rules}. {'; '.join(missed)}. Locks in the way: "
        f"{'; '.join(locks[:6])}{f' and {len(locks) - 6} more' if len(locks) > 6 else ''}. "
        "Ask for more, or loosen the constraints (min_channels, round_to, keep, bounds)."
    )
