"""The cells of study `grid`: a net on a data set, trained; what each arm makes of it; what ranks its maps well."""

from __future__ import annotations

import gc
import math
import time
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_taylor._keras.batches import batches
from keras_taylor._keras.progress import progress_bar
from keras_taylor._output.files import write_atomically
from keras_taylor._plan.constraints import Constraints
from keras_taylor._plan.plan import decide
from keras_taylor._plan.pruning_plan import PruningPlan
from keras_taylor._plan.target import Target
from keras_taylor._rebuild.rebuild import rebuild
from keras_taylor._rebuild.verify import verify
from keras_taylor._run.fit import fit_with_pruning
from keras_taylor._run.recipe import Recipe
from keras_taylor._score.scorer import Scorer
from keras_taylor._trace.graph import ChannelGraph
from keras_taylor.criteria import Criterion, criterion_for
from keras_taylor.errors import InfeasibleTarget, KerasTaylorError
from keras_taylor.studies._accuracy import accuracy
from keras_taylor.studies._batches import Batches
from keras_taylor.studies._correlation import correlation
from keras_taylor.studies._grid_arms import LIBRARY, UNPRUNED, raw_criteria
from keras_taylor.studies._grid_data import GridData, Shelf
from keras_taylor.studies._grid_net import Net, count_maps, dense_layers, maps_of
from keras_taylor.studies._grid_recipe import GridRecipe
from keras_taylor.studies._grid_training import compiled, cosine, updated
from keras_taylor.studies._store import Store, digest

BASE, CORRELATION = "base", "correlation"
LIBRARY_SHARE = 0.6
"""Of the multiply-accumulates, what each of the library's runs leaves: four of them lead to an eighth."""


@dataclass(frozen=True)
class Cell:
    """One thing to compute.

    Attributes:
        net: name of the net.
        data: name of the data set.
        seed: of weights, order and augmentation.
        arm: `"base"`, `"correlation"`, or an arm of `_grid_arms`.
    """

    net: str
    data: str
    seed: int
    arm: str


class Cells:
    """Computes cells, each once; they are kept in the folder, where other processes may compute other cells.

    Args:
        store: the folder.
        nets: by name.
        recipes: by name of the net.
        shelf: the data sets.
        verbose: 1 shows progress bars.

    Attributes:
        counts: numbers of training and of test images by net and data set, of those that were looked at.
    """

    def __init__(
        self, store: Store, nets: Mapping[str, Net], recipes: Mapping[str, GridRecipe], shelf: Shelf, verbose: int
    ) -> None:
        self.store, self.nets, self.recipes, self.shelf, self.verbose = store, nets, recipes, shelf, verbose
        self.counts: dict[tuple[str, str], tuple[int, int]] = {}
        self._contents: dict[tuple[str, str], dict[str, Any]] = {}

    def has(self, cell: Cell) -> bool:
        """Whether the cell is in the folder."""
        there = self.store.has("grid", self._key(cell))
        return there and (cell.arm != BASE or self._model_path(cell).exists())

    def value(self, cell: Cell) -> Any:
        """What the cell found: computed unless it is in the folder.

        Of a base: `accuracy`, `updates`, `maps`, `macs`. Of an arm: `curve`, a list of points with `maps` and `macs` left,
        `updates` so far, `accuracy` and its `standard error`. Of the correlations: a list of numbers for each criterion
        and kind. All have `seconds`.
        """
        key = self._key(cell)
        if not self.has(cell):
            start = time.perf_counter()
            keras.backend.clear_session()
            gc.collect()
            keras.utils.set_random_seed(cell.seed)
            found = {BASE: self._base, CORRELATION: self._correlation}.get(cell.arm, self._arm)(cell)
            self.store.put("grid", key, {**found, "seconds": time.perf_counter() - start})
        return self.store.get("grid", key)

    def data(self, cell: Cell) -> GridData:
        """The images of a cell."""
        return self.shelf.get(cell.data, self.nets[cell.net].size)

    def _content(self, cell: Cell) -> dict[str, Any]:
        name = cell.net, cell.data
        if name not in self._contents:
            found = self.data(cell)
            self._contents[name] = {**found.content, "classes": found.classes}
            self.counts[name] = len(found.train[0]), len(found.test[0])
        return self._contents[name]

    def _key(self, cell: Cell) -> dict[str, Any]:
        """All that a cell depends on."""
        recipe = self.recipes[cell.net].settings()
        key = {"net": self.nets[cell.net].settings(), "data": self._content(cell), "seed": cell.seed, "arm": cell.arm}
        if cell.arm not in (BASE, CORRELATION, LIBRARY, UNPRUNED):
            key["criterion"] = criterion_for(cell.arm).settings()
        return {**key, "recipe": recipe}

    def _model_path(self, cell: Cell) -> Path:
        base = Cell(cell.net, cell.data, cell.seed, BASE)
        name = "".join(letter if letter.isalnum() else "_" for letter in cell.data)
        return self.store.root / "bases" / f"{cell.net}-{name}-{cell.seed}-{digest(self._key(base))}.keras"

    def _batches(self, cell: Cell, purpose: int, most: int | None = None) -> Batches:
        recipe = self.recipes[cell.net]
        return Batches(*self.data(cell).train, recipe.batch_size, 1000 * cell.seed + purpose, recipe.augment, most)

    def _base(self, cell: Cell) -> dict[str, Any]:
        """A net that is trained on the task, for N epochs."""
        recipe, data = self.recipes[cell.net], self.data(cell)
        model = compiled(self.nets[cell.net].made(self.data(cell).outputs), recipe, recipe.learning_rate)
        given = self._batches(cell, 0)
        count = recipe.epochs * len(given)
        bar = progress_bar(count, self.verbose)
        updated(model, given.endless(), count, cosine(recipe.learning_rate, count) if recipe.cosine else None, bar.update)
        graph = maps_of(model)
        path = self._model_path(cell)
        path.parent.mkdir(exist_ok=True)
        write_atomically(path, model.save)
        right = accuracy(model, *data.test, recipe.batch_size)
        return {"accuracy": right, "updates": count, "maps": count_maps(graph), "macs": graph.macs}

    def _loaded(self, cell: Cell, rate: float) -> Any:
        """The trained net, with a new optimizer."""
        self.value(Cell(cell.net, cell.data, cell.seed, BASE))
        model = keras.models.load_model(self._model_path(cell), compile=False)
        keras.utils.set_random_seed(cell.seed)
        return compiled(model, self.recipes[cell.net], rate)

    def _arm(self, cell: Cell) -> dict[str, Any]:
        if cell.arm == LIBRARY:
            return self._library(cell)
        recipe = self.recipes[cell.net]
        model = self._loaded(cell, recipe.pruning_rate)
        return {"curve": list(self._pruned(cell, model, None if cell.arm == UNPRUNED else criterion_for(cell.arm)))}

    def _pruned(self, cell: Cell, model: Any, criterion: Criterion | None) -> Iterator[dict[str, Any]]:
        """The points of a net that loses maps and is trained, in turns; without a criterion it is trained alone."""
        recipe, data = self.recipes[cell.net], self.data(cell)
        graph = maps_of(model)
        total, stream = count_maps(graph), self._batches(cell, 1).endless()
        count = recipe.removals(total)
        bar = progress_bar(count, self.verbose)
        yield self._point(graph, data, recipe, 0, total)
        for number in range(1, count + 1):
            if criterion is not None:
                fewer = min(recipe.at_once(total), count_maps(graph) - recipe.left(total))
                rows = np.random.default_rng((cell.seed, number)).permutation(len(data.train[0]))[: recipe.examples]
                try:
                    graph = removed(
                        graph, criterion, data.train, rows, fewer, seed=1000 * cell.seed + number, prove=number == 1
                    )
                except InfeasibleTarget:  # one map is left in each layer
                    left = count_maps(graph)
                    yield self._point(graph, data, recipe, (number - 1) * recipe.updates, left)
                    return
            updated(graph.model, stream, recipe.updates)
            bar.update(number)
            if number % recipe.every == 0 or number == count:
                at = max(total - number * recipe.at_once(total), recipe.left(total))
                yield self._point(graph, data, recipe, number * recipe.updates, at)
            if number % 10 == 0:
                gc.collect()  # each removal leaves a model behind, full of circles

    def _library(self, cell: Cell) -> dict[str, Any]:
        """The library's own recipe, call by call, with as many updates in all as the other arms have, up to rounding."""
        recipe, data = self.recipes[cell.net], self.data(cell)
        model = self._loaded(cell, recipe.learning_rate)
        graph = maps_of(model)
        each = max(round(recipe.removals(count_maps(graph)) * recipe.updates / recipe.library_steps), 1)
        epochs, most = in_epochs(each, len(self._batches(cell, 2)))
        given = self._batches(cell, 2, most=most)
        curve = [self._point(graph, data, recipe, 0, count_maps(graph))]
        for step in range(1, recipe.library_steps + 1):
            own = Recipe(constraints=Constraints(keep=dense_layers(graph)), examples=recipe.examples, keep_best=False)
            try:
                result = fit_with_pruning(
                    graph.model,
                    given,
                    target=Target(macs=LIBRARY_SHARE),
                    epochs=epochs,
                    recipe=own,
                    seed=1000 * cell.seed + step,
                    verbose=0,
                )
            except InfeasibleTarget:
                break
            graph = maps_of(result.model)
            curve.append(self._point(graph, data, recipe, step * epochs * len(given), count_maps(graph)))
        return {"curve": curve}

    def _correlation(self, cell: Cell) -> dict[str, Any]:
        """Rank correlations of scores with the oracle, on the trained net, and between halves of the sample."""
        recipe, data = self.recipes[cell.net], self.data(cell)
        graph = maps_of(self._loaded(cell, recipe.learning_rate))
        x, y = data.train
        rows = np.random.default_rng(cell.seed).permutation(len(x))[: recipe.oracle_examples]
        study = correlation(
            graph,
            x[rows].astype("float32"),
            y[rows],
            run_dir=self.store.root / CORRELATION / self._model_path(cell).stem,
            criteria=raw_criteria(),
            examples=len(rows),
            seeds=(cell.seed,),
            batch_size=min(recipe.batch_size, len(rows)),
            verbose=self.verbose,
        )
        return {"correlations": study.values["correlations"]}

    def _point(self, graph: ChannelGraph, data: GridData, recipe: GridRecipe, updates: int, at: int) -> dict[str, Any]:
        """A point of a curve; `at` are the maps that a net which is pruned has left at this time."""
        right, count = accuracy(graph.model, *data.test, recipe.batch_size), len(data.test[0])
        found = {"maps": count_maps(graph), "at": at, "macs": graph.macs, "updates": updates}
        return {**found, "accuracy": right, "standard error": math.sqrt(right * (1 - right) / count)}


def removed(
    graph: ChannelGraph, criterion: Criterion, data: tuple[Any, Any], rows: Any, fewer: int, *, seed: int, prove: bool
) -> ChannelGraph:
    """The graph of a net without the `fewer` maps that the criterion ranks lowest.

    Args:
        graph: of the net, in which all but maps are locked.
        criterion: what a map is worth.
        data: images and classes.
        rows: numbers of those to score on.
        fewer: how many maps go.
        seed: for criteria that draw.
        prove: whether the rebuilt net is compared with the masked one.

    Raises:
        InfeasibleTarget: so many cannot go.
    """
    x, y = data[0][rows].astype("float32"), data[1][rows]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Gauss-Newton is the second derivative")  # how good it is, is asked here
        (scores,) = Scorer(graph, [criterion], seed=seed)(batches((x, y), batch_size=32))
    budgets = {"channels": float(graph.cost.totals()["channels"] - fewer)}
    plan = decide(scores, budgets, Constraints(), rank="score", cost=graph.cost, asked=f"{fewer} maps fewer")
    small = rebuild(graph, plan)
    if prove:
        _prove(graph, plan, small, x[:8])
    return maps_of(small)


def _prove(graph: ChannelGraph, plan: PruningPlan, small: Any, x: Any) -> None:
    check = verify(graph, plan, small, x, tolerance=1e-3)
    if not check.ok:
        raise KerasTaylorError(f"The rebuilt net must compute what the masked one computes. Received: {check}.")


def in_epochs(updates: int, whole: int) -> tuple[int, int]:
    """The fewest epochs of at most `whole` updates that make so many, and how many each has, up to rounding."""
    epochs = math.ceil(updates / whole)
    return epochs, round(updates / epochs)


def forward_passes(recipe: GridRecipe, arm: str, maps: int, images: int, test: int, share: float = 0.55) -> float:
    """About what a cell costs, in forward passes of one image through the unpruned net.

    Args:
        recipe: of the net.
        arm: of the cell.
        maps: of the unpruned net.
        images: to train on.
        test: to test on.
        share: of the multiply-accumulates that is left, on average over the pruning.
    """
    size = min(recipe.batch_size, images)
    if arm == BASE:
        return 3.0 * recipe.epochs * (images // size) * size + test
    if arm == CORRELATION:
        return recipe.oracle_examples * maps * 0.3  # what lies before a map is computed once
    count = recipe.removals(maps)
    trained = 3.0 * count * recipe.updates * size
    shown = test * (1 + math.ceil(count / recipe.every))
    if arm == UNPRUNED:
        return trained + shown
    if arm == LIBRARY:
        return 2.0 * share * trained + test * (1 + recipe.library_steps)  # distillation and repair take as much again
    return share * (trained + shown + 3.0 * count * recipe.examples)
