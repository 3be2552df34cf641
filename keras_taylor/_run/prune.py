"""One removal: score, plan, rebuild, verify. `kt.prune` is one of them, `kt.fit_with_pruning` a loop around it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras

from keras_taylor._measure.latency_budget import Stopwatch
from keras_taylor._plan.constraints import Constraints, check_constraints
from keras_taylor._plan.plan import check_rank
from keras_taylor._plan.pruning_plan import PruningPlan, totals
from keras_taylor._plan.target import Target
from keras_taylor._rebuild.rebuild import rebuild
from keras_taylor._repair.repair import Repair
from keras_taylor._run.checks import check_feasible, check_readable, check_repair, check_validation, require_target
from keras_taylor._run.report import Report, evaluate, settings, stage, timed
from keras_taylor._run.step import SCORING_EXAMPLES, PruningStep
from keras_taylor._score.score import DEFAULT_CRITERION
from keras_taylor._trace.graph import trace
from keras_taylor.criteria import Criterion, criterion_for


@dataclass(frozen=True, eq=False)
class PruningResult:
    """What `kt.prune` and `kt.fit_with_pruning` return.

    Attributes:
        model: the pruned model, a plain `keras.Model`.
        plan: what was removed from the model that was passed in, over all steps.
        report: sizes and metrics before, after each step, and at the end.
        history: as from `fit`, over all fine-tuning epochs; empty for `kt.prune`.
        repair: what the last repair tried and chose; None if none was asked for.
    """

    model: Any
    plan: PruningPlan
    report: Report
    history: Any
    repair: Repair | None = None

    def __repr__(self) -> str:
        return (
            f"<PruningResult: {self.model.name!r}, {self.plan.after.get('macs', 0):,} MACs, {len(self.report.stages)} stages>"
        )


def prune(
    model: Any,
    data: Any = None,
    target: Target | None = None,
    *,
    criterion: str | Criterion = DEFAULT_CRITERION,
    constraints: Constraints | None = None,
    rank: str = "saving",
    loss: Any = None,
    validation_data: Any = None,
    class_weight: Mapping[int, float] | None = None,
    repair: str | Sequence[str] | None = None,
    examples: int | None = SCORING_EXAMPLES,
    batch_size: int = 32,
    seed: int = 0,
    verbose: int = 0,
) -> PruningResult:
    """Make a model smaller in one shot, without training: score, plan, rebuild, verify, and repair if asked.

    With a latency in the target, the parts of the model are timed first (once per device: the times are kept in
    `$KERAS_TAYLOR_CACHE`, or `keras_taylor` in the user's cache folder). Then pruned models are exported and timed beside the
    unpruned one, until one is within the budget and within 5 % of it.

    Args:
        model: a built Functional or Sequential model; it is not changed.
        data: what `fit` takes. Without labels, channels are scored against the model's own predictions. None for criteria that
            need no data.
        target: the budget, for example `kt.Target(macs=0.5)`.
        criterion: a name or a `kt.Criterion`.
        constraints: what the plan must respect.
        rank: see `kt.plan`.
        loss: a loss to use instead of the compiled one.
        validation_data: what `evaluate` takes; the report then shows the compiled metrics before and after.
        class_weight: as in `fit`.
        repair: a method of `kt.repair`, for example `"auto"`, applied with the same data; none by default.
        examples: score and repair on at most this many examples (drawn at random from arrays).
        batch_size: for arrays.
        seed: for the sample and for criteria that draw random numbers.
        verbose: 0 is silent, 1 shows a progress bar.

    Returns:
        `result.model`, `.plan`, `.report`.

    Raises:
        KerasTaylorError: see `kt.score`, `kt.plan` and `kt.rebuild`; nothing is changed then.

    Example:
        >>> import keras, numpy as np, keras_taylor as kt
        >>> model = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Conv2D(8, 3, activation="relu"),
        ...                           keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(2)])
        >>> result = kt.prune(model, target=kt.Target(macs=0.5), criterion="magnitude")
        >>> result.model.layers[1].filters
        4
    """
    goal = require_target(target)
    check_rank(rank)
    check_constraints(constraints)
    check_readable(data)
    graph, rules = trace(model), constraints or Constraints()
    check_feasible(graph, goal, rules)
    check_validation(validation_data)
    check_repair(repair, data)
    removal = PruningStep(
        criterion_for(criterion),
        rank=rank,
        loss=loss,
        examples=examples,
        batch_size=batch_size,
        class_weight=class_weight,
        repair=repair,
        seed=seed,
        verbose=verbose,
    )
    stopwatch = Stopwatch(graph, goal, verbose=verbose) if goal.timed else None
    budgets = goal.absolute(stopwatch.totals if stopwatch else totals(graph))
    decided, small, repaired = removal.step(model, data, budgets, rules, stopwatch)
    report = Report({**settings(removal, goal), **(stopwatch.settings() if stopwatch else {})})
    # A copy is evaluated: the model's own metrics keep their state.
    whole = model if validation_data is None or not model.compiled else rebuild(model, PruningPlan({}))
    report.stages.append(
        stage(
            "before",
            0,
            graph,
            {**evaluate(whole, validation_data, batch_size), **timed(stopwatch.dense if stopwatch else None)},
        )
    )
    report.stages.append(
        stage(
            "final",
            0,
            trace(small),
            {**evaluate(small, validation_data, batch_size), **timed(stopwatch.pruned if stopwatch else None)},
        )
    )
    history = keras.callbacks.History()
    history.epoch = []
    return PruningResult(small, decided, report, history, repaired)
