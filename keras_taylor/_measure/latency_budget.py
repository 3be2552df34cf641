"""A latency budget, checked on the file itself: plan for a prediction, time the file, correct the prediction, until it fits.

Files are compared by their fastest runs, taken in turn: on a machine with nothing else to do these are a per cent or two below
the medians, and on a busy one they still tell a fast file from a slow one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from keras_taylor._measure import timing
from keras_taylor._measure.latency_table import look_up
from keras_taylor._plan.constraints import Constraints
from keras_taylor._plan.plan import decide
from keras_taylor._plan.pruning_plan import PruningPlan, to_mask
from keras_taylor._plan.target import LATENCY, Target
from keras_taylor._rebuild.rebuild import rebuild
from keras_taylor._score.scores import Scores
from keras_taylor._trace.cost import Cost
from keras_taylor._trace.graph import ChannelGraph
from keras_taylor.errors import InfeasibleTarget, warn
from keras_taylor.litert import Latency
from keras_taylor.litert._model import interpreter_class
from keras_taylor.quantizers import quantizer_for
from keras_taylor.quantizers._checks import check_convertible

ROUNDINGS = (1, 4, 8, 16)
TRIES = 8
CLOSE = 0.95
"""A file that takes between this part of the budget and the budget itself is close enough."""
AIM = 0.98
"""The part of the budget that is aimed at: another run of the same files differs by a per cent or two."""


@dataclass(frozen=True, eq=False)
class Request:
    """What a pruned model shall be like.

    Attributes:
        scores: of the channels of the model to prune, which their graph holds.
        budgets: absolute ones.
        constraints: what the plan must respect; without a `round_to`, 1, 4, 8 and 16 are tried.
        rank: see `kt.plan`.
        tries: files to time at most.
    """

    scores: Scores
    budgets: Mapping[str, float]
    constraints: Constraints
    rank: str = "saving"
    tries: int = TRIES

    @property
    def wanted(self) -> float:
        """The budget of time."""
        return self.budgets[LATENCY]

    def rounded(self, to: int | None) -> Request:
        """The same request with another `round_to`."""
        return replace(self, constraints=replace(self.constraints, round_to=to))

    def importance(self, plan: PruningPlan) -> float:
        """The sum of the scores that a plan keeps."""
        return float(self.scores.values[to_mask(self.scores.graph, plan)].sum())


@dataclass(frozen=True, eq=False)
class Fitted:
    """A pruned model that was timed.

    Attributes:
        plan: what was removed.
        model: what is left.
        pruned: latency of its file.
        dense: latency of the unpruned model's file, timed in turn with it.
        excess: latency of the pruned file, as a part of the budget.
    """

    plan: PruningPlan
    model: Any
    pruned: Latency
    dense: Latency
    excess: float


class Stopwatch:
    """Times the unpruned model and its parts once, and then every candidate beside it.

    Args:
        graph: the unpruned model, traced.
        target: a target with a latency.
        names: what the calls of the model are called in the models that are pruned, if not the same.
        verbose: 0 is silent, 1 and `"auto"` show a progress bar.

    Attributes:
        dense: latency of the unpruned model's file.
        totals: what can be budgeted of the unpruned model; its latency is the measured one.
        latest: what was timed last; None before that.
        round_to: the rounding that was chosen by measurement; None when it was given, or not yet.

    Raises:
        BadInput: no file can be made of the model.
        ConversionError: the converter refuses it, or LiteRT cannot run its file.
        UnsupportedModel: see `check_graph` of the quantizer.
        MissingPackage: LiteRT is not installed.
    """

    def __init__(self, graph: ChannelGraph, target: Target, names: Mapping[str, str] | None = None, verbose: Any = 0) -> None:
        interpreter_class()  # an error before any work
        check_convertible(graph)
        self._target = target
        self._quantizer = quantizer_for(target.quantizer)
        self._quantizer.check_graph(graph)
        self._dense_file = timing.file_like(graph.model, self._quantizer)
        timing.check_runs(self._dense_file, graph.name, self._quantizer)
        table = look_up(graph, self._quantizer, target.threads, verbose)
        (self.dense,) = timing.latencies([self._dense_file], target.threads)
        # The parts alone take another time than in the file: copies, caches. What pruning does to both is alike.
        table = table.scaled(1e6 * self.dense.fastest_ms / max(table.terms(graph).total(graph.cost.full), 1.0))
        self.totals = graph.cost.extended(LATENCY, table.terms(graph)).totals()
        self._table = table if names is None else table.renamed(names)
        self._correction = 1.0  # predicted by measured time, of pruned models
        self.latest: Fitted | None = None
        self.round_to: int | None = None

    @property
    def pruned(self) -> Latency:
        """Latency of the file that was chosen last; of the unpruned one before that."""
        return self.dense if self.latest is None else self.latest.pruned

    def cost(self, graph: ChannelGraph) -> Cost:
        """The cost model of a graph, with the predicted latency."""
        return graph.cost.extended(LATENCY, self._table.terms(graph))

    def meet(self, request: Request) -> Fitted:
        """Prune the model so that its file meets the budget, and comes close to it.

        Where the constraints have no `round_to`, the one is taken that keeps the most importance within the budget. With
        one try, what it finds is returned even when it misses the budget.

        Raises:
            InfeasibleTarget: no file that was timed meets the budget.
        """
        if request.constraints.round_to is None and self.round_to is None:
            best = self._compare(request)
        else:
            best = self._search(request.rounded(request.constraints.round_to or self.round_to))
        if best.excess > 1 and request.tries > 1:
            raise InfeasibleTarget(
                f"Target must be reachable. Received: {self._target}. The fastest file that was timed takes "
                f"{best.pruned.fastest_ms:.4g} ms, the unpruned {best.dense.fastest_ms:.4g}: {best.excess:.2f} of the budget. "
                "Ask for more, or loosen the constraints."
            )
        if best.excess < CLOSE and request.tries > 1 and len(request.budgets) == 1:
            warn(
                f"The file takes {best.excess:.0%} of the latency budget: of {request.tries} plans at most, none came closer "
                "from below. Widths that LiteRT pads make steps; another round_to may come closer."
            )
        self.latest = best
        return best

    def _compare(self, request: Request) -> Fitted:
        """`_search` with the two most promising roundings; of what meets the budget, the one that keeps more importance."""
        rounded, plans = [request.rounded(round_to) for round_to in ROUNDINGS], []
        for one in rounded:
            try:
                plans.append(self._decide(one, AIM * request.wanted))
            except InfeasibleTarget:
                if not plans:  # without rounding: then nothing can be done
                    raise
                break
        kept = {}
        for number, found in enumerate(self._time(request, plans)):
            correction = found.plan.after[LATENCY] / found.excess / request.wanted
            try:
                decided = self._decide(rounded[number], AIM * correction * request.wanted)
            except InfeasibleTarget:
                continue
            kept[number] = (request.importance(decided), correction)
        promising = sorted(kept, key=lambda number: kept[number], reverse=True)[:2] or [0]
        ends = []
        for number in promising:
            self._correction = kept[number][1] if number in kept else 1.0
            ends.append((self._search(rounded[number]), number))
        best, number = max(ends, key=lambda end: (end[0].excess <= 1, request.importance(end[0].plan)))
        self.round_to = ROUNDINGS[number]
        self._correction = best.plan.after[LATENCY] / best.excess / request.wanted
        return best

    def _search(self, request: Request) -> Fitted:
        """Plan, time, correct the prediction, until the file is close under the budget or nothing comes closer."""
        planned = AIM * request.wanted * self._correction
        fits, misses = (0.0, 0.0), (math.inf, math.inf)  # predicted, and as a part of the budget
        best: Fitted | None = None
        last: PruningPlan | None = None
        for _ in range(request.tries):
            try:
                decided = self._decide(request, planned)
            except InfeasibleTarget:
                if best is None:
                    raise
                break
            if decided == last:  # one block more or less does not come closer
                break
            last = decided
            (found,) = self._time(request, [decided])
            best = found if best is None or _better(found, best) else best
            predicted = decided.after[LATENCY]
            self._correction = predicted / found.excess / request.wanted
            if CLOSE <= found.excess <= 1:
                break
            if found.excess <= 1:
                fits = predicted, found.excess
            else:
                misses = predicted, found.excess
            if math.inf in misses or 0 in fits:
                planned = predicted * AIM / found.excess
            else:
                planned = float(np.interp(AIM, (fits[1], misses[1]), (fits[0], misses[0])))
        assert best is not None
        return best

    def _decide(self, request: Request, planned: float) -> PruningPlan:
        """The plan whose predicted time is at most `planned`."""
        scores, budgets = request.scores, {**request.budgets, LATENCY: planned}
        cost = self.cost(scores.graph)
        return decide(scores, budgets, request.constraints, rank=request.rank, cost=cost, asked=self._target)

    def _time(self, request: Request, plans: list[PruningPlan]) -> list[Fitted]:
        """Rebuild, export and time, the unpruned file and all others in turn."""
        models = [rebuild(request.scores.graph, decided) for decided in plans]
        files = [timing.file_like(small, self._quantizer) for small in models]
        dense, *pruned = timing.latencies([self._dense_file, *files], self._target.threads)
        fitted = []
        for decided, small, latency in zip(plans, models, pruned, strict=True):
            if self._target.latency_ms is not None:
                excess = 1e6 * latency.fastest_ms / request.wanted
            else:  # as a fraction of the unpruned file in the same run: a busy machine slows both
                excess = latency.fastest_ms / dense.fastest_ms * self.totals[LATENCY] / request.wanted
            fitted.append(Fitted(decided, small, latency, dense, excess))
        return fitted

    def settings(self) -> dict[str, object]:
        """What was measured, for a report."""
        if self.latest is None:
            return {}
        pruned, dense = self.latest.pruned, self.latest.dense
        found = {
            "latency": f"{pruned.fastest_ms:.4g} of {dense.fastest_ms:.4g} ms ({pruned.fastest_ms / dense.fastest_ms:.1%})",
            "runs": f"fastest of {pruned.runs} in turn",
            "quantizer": self._quantizer.name,
            "threads": pruned.threads,
            "device": pruned.device,
        }
        return {**found, "round_to": self.round_to} if self.round_to else found


def _better(one: Fitted, other: Fitted) -> bool:
    """Within the budget before above it, and then the closer one."""
    if (one.excess <= 1) != (other.excess <= 1):
        return one.excess <= 1
    return one.excess > other.excess if one.excess <= 1 else one.excess < other.excess
