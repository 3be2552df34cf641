"""One removal: score, plan, rebuild, verify. `kt.prune` is one of them, `kt.fit_with_pruning` a loop around it."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from keras_taylor._data import batches
from keras_taylor._graph import ChannelGraph, trace
from keras_taylor._lite import Latency
from keras_taylor._plan import (
    LATENCY,
    Constraints,
    PruningPlan,
    Target,
    check_constraints,
    check_names,
    check_rank,
    decide,
    totals,
)
from keras_taylor._quantize.config import quantizer_for
from keras_taylor._rebuild import rebuild
from keras_taylor._repair.repair import Repair, check_method
from keras_taylor._repair.repair import repair as repair_model
from keras_taylor._report import Report, Stage
from keras_taylor._scores import Scores
from keras_taylor._scoring import DEFAULT_CRITERION, score
from keras_taylor._stopwatch import TRIES, Stopwatch
from keras_taylor._verify import verify
from keras_taylor.criteria import Criterion, criterion_for
from keras_taylor.errors import BadInput, KerasTaylorError

SCORING_EXAMPLES = 2048


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


@dataclass(frozen=True)
class Removal:
    """How channels are chosen: the options that `prune` and `fit_with_pruning` share."""

    criterion: Criterion
    rank: str = "saving"
    loss: Any = None
    examples: int | None = SCORING_EXAMPLES
    batch_size: int = 32
    class_weight: Mapping[int, float] | None = None
    repair: str | Sequence[str] | None = None
    seed: int = 0
    verbose: int = 0

    def scores(self, model: Any, data: Any) -> Scores:
        """Score the model's channels with these options."""
        return score(
            model,
            data,
            self.criterion,
            loss=self.loss,
            examples=self.examples,
            batch_size=self.batch_size,
            class_weight=self.class_weight,
            labels="given" if data is None or _labelled(data) else "sampled",
            seed=self.seed,
            verbose=self.verbose,
        )

    def step(
        self,
        model: Any,
        data: Any,
        budgets: Mapping[str, float],
        constraints: Constraints,
        stopwatch: Stopwatch | None = None,
        tries: int = TRIES,
    ) -> tuple[PruningPlan, Any, Repair | None]:
        """One removal; the rebuilt model is verified against the masked one, and then repaired if that is asked for."""
        scores = self.scores(model, data)
        if stopwatch is None:
            decided = decide(scores, budgets, constraints, rank=self.rank, cost=scores.graph.cost, asked=dict(budgets))
            small = rebuild(model, decided)
        else:
            fitted = stopwatch.meet(model, scores, budgets, constraints, self.rank, tries)
            decided, small = fitted.plan, fitted.model
        check = verify(model, decided, small, _sample(data), tolerance=_tolerance(model))
        if not check.ok:
            raise KerasTaylorError(
                f"The rebuilt model must compute what the masked one computes. Received: {check}. This is a fault of a layer "
                "rule: please report it with print(kt.trace(model)), and keep the layers concerned meanwhile "
                "(Constraints(keep=...))."
            )
        if self.repair is None:
            return decided, small, None
        repaired = repair_model(
            model,
            decided,
            small,
            data,
            self.repair,
            examples=self.examples or sys.maxsize,
            batch_size=self.batch_size,
            seed=self.seed,
            verbose=self.verbose,
        )
        return decided, repaired.model, repaired


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
    removal = Removal(
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
    stopwatch = Stopwatch(model, graph, goal, verbose=verbose) if goal.timed else None
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


def require_target(target: Target | None) -> Target:
    """The target; a missing one, or a bare number, is an error that says what to write."""
    if not isinstance(target, Target):
        raise BadInput(f"target must be a kt.Target. Received: {target!r}. Write target=kt.Target(macs=0.5).")
    return target


def check_feasible(graph: ChannelGraph, target: Target, constraints: Constraints) -> None:
    """Raise `InfeasibleTarget` or `UnknownName` before any data is read and anything is timed."""
    check_names(graph, constraints)
    quantizer_for(target.quantizer)
    others = target.absolute({**totals(graph), LATENCY: 0})
    others.pop(LATENCY, None)
    scores = Scores(graph, np.zeros(graph.channels))
    decide(scores, others, constraints, rank="saving", cost=graph.cost, asked=target)


def timed(latency: Latency | None) -> dict[str, float]:
    """A latency for a row of a report; nothing where none was timed."""
    return {} if latency is None else {"latency_ms": latency.fastest_ms}


def check_readable(data: Any) -> None:
    """Raise `BadInput` for data that can be read only once."""
    if isinstance(data, Iterator):
        raise BadInput(
            f"data must be readable more than once. Received: a {type(data).__name__}. Pass arrays, a tf.data.Dataset "
            "(tf.data.Dataset.from_generator) or a PyDataset."
        )


def check_validation(data: Any) -> None:
    """Raise `BadInput` unless validation data have labels."""
    if hasattr(data, "shape"):
        raise BadInput("validation_data must have labels. Received: one array. Pass (x, y) or a data set that yields (x, y).")


def check_repair(repair: str | Sequence[str] | None, data: Any) -> None:
    """Raise `UnknownName` or `BadInput` before any work is done."""
    if repair is not None:
        check_method(repair)
        if data is None:
            raise BadInput("data must be given to repair. Received: None. Pass inputs; they need no labels.")


def settings(removal: Removal, target: Target) -> dict[str, object]:
    """The set-up of a run, for its report."""
    return {
        "criterion": removal.criterion.name,
        **removal.criterion.settings(),
        "rank": removal.rank,
        "target": str(target),
        "examples": removal.examples,
        "repair": removal.repair,
        "seed": removal.seed,
    }


def stage(name: str, epochs: int, graph: ChannelGraph, metrics: Mapping[str, float]) -> Stage:
    """A report row for a model of this graph."""
    sizes = totals(graph)
    return Stage(name, epochs, sizes["macs"], sizes["params"], sizes["channels"], dict(metrics))


def evaluate(model: Any, data: Any, batch_size: int | None, steps: int | None = None) -> dict[str, float]:
    """The compiled loss and metrics on `data`; nothing without data."""
    if data is None:
        return {}
    if not model.compiled:
        raise BadInput(f"validation_data needs a compiled model. Received: {model.name!r}. Call model.compile(...) first.")
    x, y, weight = keras.utils.unpack_x_y_sample_weight(data) if isinstance(data, (tuple, list)) else (data, None, None)
    arrays = {} if y is None else {"y": y, "sample_weight": weight, "batch_size": batch_size}
    found = model.evaluate(x, **arrays, steps=steps, verbose=0, return_dict=True)
    return {name: float(value) for name, value in found.items()}


def _labelled(data: Any) -> bool:
    _, y, _ = next(batches(data, examples=1, batch_size=1, labels=False))
    return y is not None


def _sample(data: Any) -> Any:
    """Two examples of the data, to verify on; None without data."""
    if data is None:
        return None
    x, _, _ = next(batches(data, examples=2, batch_size=2, labels=False))
    return x


def _tolerance(model: Any) -> float:
    """How equal rebuilt and masked outputs can be in the coarsest precision that the model computes in."""
    coarse = {"float16": 2e-2, "bfloat16": 1e-1}
    return max((coarse.get(layer.compute_dtype, 1e-4) for layer in model._flatten_layers()), default=1e-4)
