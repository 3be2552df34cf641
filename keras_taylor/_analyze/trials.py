"""Shares that are tried: pruned, repaired and judged, or estimated from those that were."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from keras_taylor._analyze.analysis import AnalysisRow
from keras_taylor._analyze.clock import Clock
from keras_taylor._analyze.curve import Curve
from keras_taylor._plan.plan import decide
from keras_taylor._plan.pruning_plan import PruningPlan
from keras_taylor._rebuild.rebuild import copy_model, rebuild
from keras_taylor._repair.judging import are_classes
from keras_taylor._run.report import evaluate
from keras_taylor._run.step import PruningStep
from keras_taylor._score.scores import Scores
from keras_taylor._trace.graph import ChannelGraph
from keras_taylor.errors import InfeasibleTarget


@dataclass(frozen=True)
class _Found:
    """What was measured at one share."""

    agreement: float
    error: float
    metric: float | None


class Trials:
    """All shares of one analysis.

    Args:
        graph: of the model.
        scores: of its channels.
        shares: of the multiply-accumulates, the largest first.
        step: how a removal is made.
        data: to repair on.
        validation_data: what `evaluate` takes, or None.
        clock: times the steps.

    Attributes:
        reachable: those shares that a plan reaches, the largest first.
        judged_by: what decides: a compiled metric, `"agreement"` or `"error"`.
        start: that metric of the unpruned model, or None.
        examples: how many examples were used to repair, and how many were held back; zeros before anything is measured.
    """

    def __init__(
        self,
        graph: ChannelGraph,
        scores: Scores,
        shares: Sequence[float],
        step: PruningStep,
        data: Any,
        validation_data: Any,
        clock: Clock,
    ) -> None:
        self._graph, self._step, self._data, self._validation, self._clock = graph, step, data, validation_data, clock
        self._shares = list(shares)
        self._plans = {share: plan for share in shares if (plan := self._plan(scores, share)) is not None}
        self.reachable = list(self._plans)
        found = {} if validation_data is None else evaluate(copy_model(graph), validation_data, step.batch_size)
        metric = next((name for name in found if "acc" in name), None)
        self.start = None if metric is None else found[metric]
        self.judged_by = metric or ("agreement" if are_classes(graph.model) else "error")
        self.examples = (0, 0)
        self._found: dict[float, _Found] = {}

    def measure(self, number: int, verbose: int) -> None:
        """Prune to the reachable share of this number, repair, and judge."""
        share = self.reachable[number]
        if verbose:
            print(f"Analysis: {100 * share:g} % of the MACs")
        plan = self._plans[share]
        with self._clock("rebuild"):
            small = rebuild(self._graph, plan)
            self._step.prove(self._graph, plan, small, self._data)
        with self._clock("repair"):
            repaired = self._step.repaired(self._graph, plan, small, self._data)
        assert repaired is not None  # there are data, and a method
        metric = None
        if self.start is not None:
            metric = evaluate(repaired.model, self._validation, self._step.batch_size)[self.judged_by]
        self.examples = repaired.examples
        self._found[share] = _Found(repaired.chosen.agreement, repaired.chosen.error, metric)

    def rows(self) -> tuple[AnalysisRow, ...]:
        """One row per share; at least one share was measured if any can be reached."""
        return tuple(self._row(share) for share in self._shares)

    def _row(self, share: float) -> AnalysisRow:
        if share not in self._plans:
            return AnalysisRow(share, "unreachable")
        plan = self._plans[share]
        found, status = self._found.get(share), "measured"
        if found is None:
            found, status = self._estimate(plan), "estimated"
        lost = {"agreement": 1 - found.agreement, "error": found.error}.get(self.judged_by, self._missing(found))
        sizes = (plan.after["macs"], plan.after["params"])
        agreement = None if math.isnan(found.agreement) else found.agreement
        return AnalysisRow(share, status, *sizes, agreement, found.error, found.metric, lost)

    def _estimate(self, plan: PruningPlan) -> _Found:
        """What was measured at other shares, at the share that this plan leaves."""
        agreement = math.nan
        if not any(math.isnan(one.agreement) for one in self._found.values()):
            agreement = 1 - self._curve(lambda one: 1 - one.agreement)(_left(plan))
        metric = None if self.start is None else self.start - self._curve(self._missing)(_left(plan))
        return _Found(agreement, self._curve(lambda one: one.error)(_left(plan)), metric)

    def _curve(self, lost: Callable[[_Found], float]) -> Curve:
        # Several shares may have one plan, where there are few channels.
        return Curve({_left(self._plans[share]): lost(found) for share, found in self._found.items()})

    def _missing(self, found: _Found) -> float:
        """How much of the metric is missing."""
        return (self.start or 0.0) - (found.metric or 0.0)

    def _plan(self, scores: Scores, share: float) -> PruningPlan | None:
        """The plan for a share; None if there is none."""
        recipe, cost = self._step.recipe, self._graph.cost
        budgets = {"macs": share * cost.totals()["macs"]}
        with self._clock("plan"):
            try:
                return decide(scores, budgets, recipe.constraints, rank=recipe.rank, cost=cost, asked=share)
            except InfeasibleTarget:
                return None


def _left(plan: PruningPlan) -> float:
    """The share of the multiply-accumulates that a plan leaves."""
    return plan.after["macs"] / plan.before["macs"]
