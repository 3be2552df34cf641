"""One removal: score, plan, rebuild, verify, and repair if that is asked for."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from keras_taylor._keras.batches import batches
from keras_taylor._keras.model import layers_of
from keras_taylor._measure.latency_budget import TRIES, Request, Stopwatch
from keras_taylor._plan.constraints import Constraints
from keras_taylor._plan.plan import decide
from keras_taylor._plan.pruning_plan import PruningPlan
from keras_taylor._rebuild.rebuild import rebuild
from keras_taylor._rebuild.verify import verify
from keras_taylor._repair.repair import Repair
from keras_taylor._repair.repair import repair as repair_model
from keras_taylor._score.score import score
from keras_taylor._score.scores import Scores
from keras_taylor.criteria import Criterion
from keras_taylor.errors import KerasTaylorError

SCORING_EXAMPLES = 2048


@dataclass(frozen=True)
class PruningStep:
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
            fitted = stopwatch.meet(Request(scores, budgets, constraints, self.rank, tries))
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
    return max((coarse.get(layer.compute_dtype, 1e-4) for layer in layers_of(model)), default=1e-4)
