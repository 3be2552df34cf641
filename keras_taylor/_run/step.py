"""One removal: score, plan, rebuild, verify, and repair if that is asked for."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from keras_taylor._keras.batches import peek
from keras_taylor._keras.model import layers_of
from keras_taylor._measure.latency_budget import TRIES, Request, Stopwatch
from keras_taylor._plan.constraints import Constraints
from keras_taylor._plan.plan import decide
from keras_taylor._plan.pruning_plan import PruningPlan
from keras_taylor._rebuild.rebuild import rebuild
from keras_taylor._rebuild.verify import verify
from keras_taylor._repair.attempts import Repair
from keras_taylor._repair.methods import Auto, methods_for
from keras_taylor._repair.repair import repair
from keras_taylor._run.recipe import Recipe
from keras_taylor._score.score import score
from keras_taylor._score.scores import Scores
from keras_taylor._trace.graph import ChannelGraph
from keras_taylor.errors import KerasTaylorError, UnsupportedModel


@dataclass(frozen=True)
class Removed:
    """What one removal made.

    Attributes:
        plan: what went, in terms of the model before.
        model: the smaller model, repaired if that was asked for.
        repair: what repair tried and chose, if it ran.
    """

    plan: PruningPlan
    model: Any
    repair: Repair | None


@dataclass(frozen=True)
class PruningStep:
    """How one removal is made: the recipe, and how data are read."""

    recipe: Recipe
    loss: Any = None
    batch_size: int = 32
    class_weight: Mapping[int, float] | None = None
    seed: int = 0
    verbose: Any = 0

    def scores(self, graph: ChannelGraph, data: Any) -> Scores:
        """The scores of the graph's channels."""
        return score(
            graph,
            data,
            criterion=self.recipe.criterion,
            loss=self.loss,
            examples=self.recipe.examples,
            batch_size=self.batch_size,
            class_weight=self.class_weight,
            seed=self.seed,
            verbose=self.verbose,
        )

    def quick(self) -> PruningStep:
        """The step of a removal after which there is more to come: automatic repair does not take its time."""
        automatic = self.recipe.repair is not None and isinstance(methods_for(self.recipe.repair), Auto)
        return replace(self, recipe=replace(self.recipe, repair=Auto(seconds=None))) if automatic else self

    def remove(
        self,
        graph: ChannelGraph,
        data: Any,
        budgets: Mapping[str, float],
        constraints: Constraints,
        stopwatch: Stopwatch | None = None,
        tries: int = TRIES,
    ) -> Removed:
        """One removal; the rebuilt model is verified against the masked one before it is repaired.

        Args:
            graph: of the model that shrinks, which is not changed.
            data: to score and repair on; None where the criterion needs none.
            budgets: absolute, by name.
            constraints: in terms of this graph.
            stopwatch: times files, where a latency is among the budgets.
            tries: how many files it may time.
        """
        scores = self.scores(graph, data)
        if stopwatch is None:
            plan = decide(scores, budgets, constraints, rank=self.recipe.rank, cost=graph.cost, asked=dict(budgets))
            small = rebuild(graph, plan)
        else:
            fitted = stopwatch.meet(Request(scores, budgets, constraints, self.recipe.rank, tries))
            plan, small = fitted.plan, fitted.model
        self.prove(graph, plan, small, data)
        repaired = self.repaired(graph, plan, small, data)
        return Removed(plan, small if repaired is None else repaired.model, repaired)

    def prove(self, graph: ChannelGraph, plan: PruningPlan, small: Any, data: Any) -> None:
        """Raise unless the rebuilt model computes what the original computes with the removed channels silenced.

        Raises:
            UnsupportedModel: the model is random in inference, so that nothing can be compared.
            KerasTaylorError: it computes something else.
        """
        check = verify(graph, plan, small, None if data is None else peek(data)[0], tolerance=_tolerance(graph.model))
        if check.random:
            raise UnsupportedModel(
                f"The model must compute the same twice, or its rebuilt twin cannot be proven. Received: {graph.model.name!r}, "
                "whose outputs differ from run to run: it is random in inference. Let its layers draw with keras.random and a "
                "keras.random.SeedGenerator, or prune step by step (kt.score, kt.plan, kt.rebuild), where nothing is compared."
            )
        if not check.ok:
            raise KerasTaylorError(
                f"The rebuilt model must compute what the masked one computes. Received: {check}. This is a fault of a layer "
                "rule: please report it with print(kt.trace(model)), and keep the layers concerned meanwhile "
                "(Constraints(keep=...))."
            )

    def repaired(self, graph: ChannelGraph, plan: PruningPlan, small: Any, data: Any) -> Repair | None:
        """What the recipe's repair makes of the rebuilt model; None without data, and where nothing is to be repaired."""
        if self.recipe.repair is None or data is None:
            return None
        return repair(
            graph,
            plan,
            small,
            data,
            method=self.recipe.repair,
            examples=self.recipe.examples or sys.maxsize,
            batch_size=self.batch_size,
            seed=self.seed,
            verbose=self.verbose,
        )


def _tolerance(model: Any) -> float:
    """How equal rebuilt and masked outputs can be in the coarsest precision that the model computes in."""
    coarse = {"float16": 2e-2, "bfloat16": 1e-1}
    return max((coarse.get(layer.compute_dtype, 1e-4) for layer in layers_of(model)), default=1e-4)
