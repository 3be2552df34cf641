"""The arms of study `baseline`: how each net is made and trained, and what that costs."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import keras
import numpy as np

from keras_taylor._keras.compilation import from_own_config
from keras_taylor._keras.identity import described, described_data
from keras_taylor._keras.model import compile_options
from keras_taylor._keras.progress import progress_bar
from keras_taylor._plan.pruning_plan import PruningPlan, to_mask
from keras_taylor._plan.target import Target
from keras_taylor._rebuild.rebuild import copy_model, drawn_anew
from keras_taylor._run.fit import fit_with_pruning
from keras_taylor._run.gentle_rate import gentle_rate
from keras_taylor._run.recipe import Recipe
from keras_taylor._run.report import Stage
from keras_taylor.studies._accuracy import accuracy
from keras_taylor.studies._baseline_shown import (
    BASE,
    CONTINUED,
    FALLING,
    PRUNED,
    RESTARTED,
    SCRATCH_COMPUTE,
    SCRATCH_EPOCHS,
    UNIFORM,
)
from keras_taylor.studies._lab import Lab
from keras_taylor.studies._uniform import uniform

PASSES = 3
"""An update costs about as much as three forward passes: one forward, and two backward (for the maps, and for the weights)."""


@dataclass(frozen=True)
class Arm:
    """One way to spend the training.

    Attributes:
        role: one of those that `_baseline_shown` names.
        recipe: the name of the recipe that prunes, or whose shape is trained; empty for the others.
    """

    role: str
    recipe: str = ""

    @property
    def name(self) -> str:
        """As tables and figures call it."""
        return f"{self.role} ({self.recipe})" if self.recipe else self.role


class Arms:
    """Fills the cells of the study: one for an arm and a seed, kept in the lab's folder.

    Args:
        lab: model, training data and folder.
        held_back: inputs and labels that measure.
        before: epochs that the model was trained for, N.
        epochs: that follow, M.
        share: of the MACs that stay.
        recipes: how the model is pruned, by name.
        optimizer: of what starts anew; it is made again from its config each time.
    """

    def __init__(
        self,
        lab: Lab,
        held_back: tuple[Any, Any],
        *,
        before: int,
        epochs: int,
        share: float,
        recipes: Mapping[str, Recipe],
        optimizer: Any,
    ) -> None:
        self.lab, self.held_back, self.recipes, self.optimizer = lab, held_back, dict(recipes), optimizer
        self.before, self.epochs, self.share = before, epochs, share
        own = lab.model.optimizer
        self._measured = {"validation": described_data(held_back)["content"], "epochs before": before}
        self._trained = {
            "epochs": epochs,
            "optimizer": described(own),
            "state": described_data([np.asarray(variable) for variable in own.variables])["content"],
            "anew": described(optimizer),
        }

    def all(self) -> list[Arm]:
        """In the order in which they are shown."""
        unpruned = [BASE, CONTINUED, RESTARTED]
        if any(recipe.gentle for recipe in self.recipes.values()) and gentle_rate(self.lab.model, (), self.epochs, None):
            unpruned.append(FALLING)
        roles = (PRUNED, SCRATCH_EPOCHS, SCRATCH_COMPUTE)
        return [*map(Arm, unpruned), *(Arm(role, name) for name in self.recipes for role in roles), Arm(UNIFORM)]

    def fill(self, seeds: Sequence[int]) -> dict[Arm, list[dict[str, Any]]]:
        """The cells of every arm, one for each seed; of the base a single one, since no seed changes it."""
        arms = self.all()
        # What prunes comes first: it checks most before it trains, and the shapes of other arms follow from it.
        order = sorted(arms, key=lambda arm: arm.role != PRUNED)
        cells = [(arm, seed) for seed in seeds for arm in order if arm.role != BASE or seed == seeds[0]]
        missing = [pair for pair in cells if not self.lab.is_kept("baseline", self._key(*pair))]
        passes, seconds = 0.0, 0.0
        for number, pair in enumerate(missing, 1):
            left = sum(self._passes(arm) for arm, _ in missing[number - 1 :])
            time_left = f", about {math.ceil(left * seconds / passes / 60)} min left" if passes else ""
            self.lab.console.print(f"{number}/{len(missing)} {pair[0].name}, seed {pair[1]}{time_left}")
            seconds += self.cell(*pair)["seconds"]
            passes += self._passes(pair[0])
        return {arm: [self.cell(one, seed) for one, seed in cells if one == arm] for arm in arms}

    def cell(self, arm: Arm, seed: int) -> dict[str, Any]:
        """What an arm reached with a seed, and what it took; measured unless it is in the folder.

        `accuracy`, `epochs` and `updates` since the very first one, `macs` of the net per example, `training macs` in all,
        `seconds` here, and `kept`, the channels by layer, of what was pruned.
        """

        def measure() -> dict[str, Any]:
            start = time.perf_counter()
            keras.utils.set_random_seed(seed)
            model, found = self._made(arm, seed)
            found["updates"] = found["epochs"] * math.ceil(len(self.lab.x) / self.lab.batch_size)
            found["accuracy"] = accuracy(model, *self.held_back, self.lab.batch_size)
            return found | {"seconds": time.perf_counter() - start}

        cell: dict[str, Any] = self.lab.kept("baseline", self._key(arm, seed), measure, say=False)
        return cell

    def _key(self, arm: Arm, seed: int) -> dict[str, Any]:
        """All that a cell depends on besides the model and the training data."""
        key: dict[str, Any] = {"arm": arm.role, **self._measured}
        if arm.role != BASE:
            key |= {"seed": seed, **self._trained}
        if arm.recipe:
            recipe = self.recipes[arm.recipe]
            key |= {"recipe": recipe.settings(), "schedule": repr(recipe.schedule)}
        return key | ({"share": self.share} if arm.recipe or arm.role == UNIFORM else {})

    def _passes(self, arm: Arm) -> float:
        """About what a cell costs, in forward passes of all data through the unpruned net."""
        total, more = self.before + self.epochs, self.epochs
        small = PASSES * total * self.share
        costs = {BASE: 1.0, SCRATCH_EPOCHS: small, SCRATCH_COMPUTE: PASSES * total, UNIFORM: small}
        return costs.get(arm.role, PASSES * more)

    def _made(self, arm: Arm, seed: int) -> tuple[Any, dict[str, Any]]:
        """The trained net of an arm; its epochs, its MACs, and those of its training."""
        if arm.role == PRUNED:
            return self._pruned(self.recipes[arm.recipe], seed)
        if arm.role == UNIFORM:
            return self._from_scratch(arm, uniform(self.lab.graph, self.share * self.lab.graph.macs), seed)
        if arm.recipe:
            return self._from_scratch(arm, PruningPlan(self.cell(Arm(PRUNED, arm.recipe), seed)["kept"]), seed)
        model, more = copy_model(self.lab.graph), 0 if arm.role == BASE else self.epochs
        if arm.role == RESTARTED:
            self._start_anew(model)
        if more:
            self._fit(model, more, seed, gentle_rate(model, (), more, None) if arm.role == FALLING else ())
        return model, self._took(self.before + more, self.lab.graph.macs)

    def _pruned(self, recipe: Recipe, seed: int) -> tuple[Any, dict[str, Any]]:
        result = fit_with_pruning(
            self.lab.graph,
            self.lab.x,
            self.lab.y,
            target=Target(macs=self.share),
            epochs=self.epochs,
            recipe=recipe,
            callbacks=[_Bar(self.lab.verbose)],
            batch_size=self.lab.batch_size,
            seed=seed,
            verbose=0,
        )
        took = self._took(self.before, self.lab.graph.macs)
        taught = result.report.settings["distilled"]
        took["training macs"] += len(self.lab.x) * pruning_macs(result.report.stages, taught)
        last = {"epochs": self.before + self.epochs, "macs": result.report.stages[-1].macs}
        return result.model, took | last | {"kept": result.plan.kept}

    def _from_scratch(self, arm: Arm, plan: PruningPlan, seed: int) -> tuple[Any, dict[str, Any]]:
        graph, epochs = self.lab.graph, self.before + self.epochs
        macs = graph.cost.totals(to_mask(graph, plan))["macs"]
        if arm.role == SCRATCH_COMPUTE:
            epochs = math.ceil(epochs * graph.macs / macs)
        model = drawn_anew(graph, plan)
        self._start_anew(model)
        self._fit(model, epochs, seed)
        return model, self._took(epochs, macs)

    def _took(self, epochs: int, macs: int) -> dict[str, Any]:
        return {"epochs": epochs, "macs": macs, "training macs": PASSES * macs * len(self.lab.x) * epochs}

    def _start_anew(self, model: Any) -> None:
        """Give the model an optimizer without a state."""
        model.compile(**{**compile_options(model), "optimizer": from_own_config(self.optimizer)})

    def _fit(self, model: Any, epochs: int, seed: int, callbacks: Sequence[Any] = ()) -> None:
        # Again: weights may have been drawn, and all arms shall see the examples in one order.
        keras.utils.set_random_seed(seed)
        callbacks = [_Bar(self.lab.verbose), *callbacks]
        model.fit(self.lab.x, self.lab.y, batch_size=self.lab.batch_size, epochs=epochs, callbacks=callbacks, verbose=0)


def pruning_macs(stages: Sequence[Stage], taught: bool) -> int:
    """MACs of training for each example, over all epochs of a run that prunes.

    Args:
        stages: of its report: in each stretch of epochs the net is as small as at its end.
        taught: whether the unpruned net computes what the small one is to compute, with one forward pass more.
    """
    full, found = stages[0].macs, 0
    for before, after in pairwise(stages):
        teacher = full if taught and after.macs < full else 0
        found += (after.epochs - before.epochs) * (PASSES * after.macs + teacher)
    return found


class _Bar(keras.callbacks.Callback):
    """One bar over all epochs of a run, however many times `fit` is called."""

    def __init__(self, verbose: int) -> None:
        super().__init__()
        self._verbose = verbose
        self._bar: Any = None

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """One epoch more."""
        self._bar = self._bar or progress_bar(self.params["epochs"], self._verbose)
        self._bar.update(epoch + 1)
