"""Both networks of the paper on both of its data sets: which criterion prunes better, and does that depend on the panel?"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from keras_taylor._keras.progress import verbosity
from keras_taylor.errors import positive, several, whole_number
from keras_taylor.studies._grid_arms import ARMS, LIBRARY, UNPRUNED, arms_for, title
from keras_taylor.studies._grid_cells import BASE, CORRELATION, Cell, Cells, forward_passes
from keras_taylor.studies._grid_data import Shelf, Source, checked_sources
from keras_taylor.studies._grid_net import TITLES, Net, nets_for
from keras_taylor.studies._grid_recipe import GridRecipe, recipes_for
from keras_taylor.studies._lab import checked_seeds
from keras_taylor.studies._store import Store, versions
from keras_taylor.studies._study import Study


def grid(
    data: Mapping[str, Source],
    *,
    run_dir: str | Path,
    nets: Sequence[str] = ("alexnet", "vgg16"),
    criteria: Sequence[str] = ARMS,
    recipe: str | Mapping[str, GridRecipe] = "paper",
    weights: Mapping[str, str | None] | None = None,
    width: float = 1.0,
    size: int | None = None,
    seeds: Sequence[int] = (0,),
    changed: Mapping[str, Any] | None = None,
    verbose: str | int = "auto",
) -> Study:
    """Prune AlexNet and VGG-16 on several data sets by several criteria, as Molchanov et al. did, and show all curves.

    Each cell is a net, a data set, a criterion and a seed. The net is trained on the data set (once for each seed), then loses
    maps and is trained in turns, and shows the test images what it can after every few removals. Beside the criteria, the
    library's own recipe prunes with as many updates in all, and the unpruned net is trained for as long (N + M). Cells are kept
    in `run_dir`: an interrupted call goes on, and several processes may compute other cells of one folder.

    The paper's nets start from ImageNet's weights and have images of 227 and 224 pixels. With `recipe="small"`, `width` and
    `size`, small nets from scratch stand in for them; tables, words and the figure say so.

    Args:
        data: for each name a `kt.studies.GridData`, or a function that gives one for a height and width in pixels. Names with
            "flowers" or "birds" in them get the paper's figures for these beside ours.
        run_dir: a folder for this grid.
        nets: of `"alexnet"` and `"vgg16"`.
        criteria: names of criteria, and `"library"` and `"unpruned"`, the two other arms.
        recipe: `"paper"`, `"small"`, or a `kt.studies.GridRecipe` for each net.
        weights: for each net `"imagenet"` (VGG-16, from keras.applications), an .npz file (see the docs for its form), or None
            for a start from scratch. With the paper's recipe it must be said for each net.
        width: share of the maps of the full nets.
        size: height and width of the images; by default those of the full nets. Other images are resized.
        seeds: of weights, order and augmentation, all of a cell.
        changed: options of the recipe that are changed for all nets, for example `{"epochs": 5}`.
        verbose: `"auto"` or 1 says what is computed, with progress bars; 2 says it without them, 0 is silent.

    Returns:
        A `kt.studies.Study`; `.save(folder)` writes JSON, Markdown and a figure.

    Raises:
        BadInput: what cannot work, a folder of another grid, weights of another net, or data whose classes do not fit.
        UnknownName: a net, a criterion or a recipe that does not exist.
        NonFiniteScores: a net whose training diverges.

    Example:
        >>> import numpy as np, tempfile, keras_taylor as kt
        >>> x, y = np.random.default_rng(0).integers(0, 256, (16, 32, 32, 3)).astype("uint8"), np.arange(16) % 2
        >>> recipe = kt.studies.GridRecipe(epochs=1, updates=1, maps=0.5, until=0.5, batch_size=8, oracle_examples=0)
        >>> study = kt.studies.grid({"noise": kt.studies.GridData((x, y), (x, y))}, run_dir=tempfile.mkdtemp(), nets=["vgg16"],
        ...                         criteria=["magnitude"], recipe={"vgg16": recipe}, width=0.04, size=32, verbose=0)
        >>> [point["maps"] for point in study.values["panels"][0]["arms"]["magnitude"][0]]
        [164, 82]

    References:
        Molchanov et al. 2017, section 3 and figures 3 to 7.
    """
    plan = GridPlan(data, nets, criteria, recipe, weights, width, size, seeds, changed)
    quiet = verbosity(verbose)
    identity = {"grid": plan.settings, "versions": versions()}
    cells = Cells(Store(run_dir, "cells.json", "a grid", identity), plan.nets, plan.recipes, plan.shelf, int(quiet == 1))
    _fill(plan, cells, Console(quiet=not quiet, highlight=False, markup=False, soft_wrap=True))
    panels = [_panel(plan, cells, net, name) for name in plan.shelf.sources for net in plan.nets]
    names = " and ".join(TITLES[net] for net in plan.nets)
    settings = {"model": f"{names} on {' and '.join(plan.shelf.sources)}", "seeds": plan.seeds, **plan.settings}
    return Study("grid", settings, {"panels": panels})


class GridPlan:
    """What a grid consists of, checked before anything is computed.

    Args: those of `grid`.
    """

    def __init__(
        self,
        data: Mapping[str, Source],
        nets: Sequence[str],
        criteria: Sequence[str],
        recipe: str | Mapping[str, GridRecipe],
        weights: Mapping[str, str | None] | None,
        width: float,
        size: int | None,
        seeds: Sequence[int],
        changed: Mapping[str, Any] | None,
    ) -> None:
        self.shelf = Shelf(checked_sources(data))
        self.arms = arms_for(several("criteria", criteria))
        self.seeds = checked_seeds(seeds)
        if size is not None:
            size = whole_number("size", size, 32)
        self.nets: dict[str, Net] = nets_for(several("nets", nets), positive("width", width), size, weights, recipe == "paper")
        self.recipes = recipes_for(recipe, self.nets, changed or {})
        for net in self.nets.values():
            net.made(2)  # a size, a width or weights that cannot be
        self.settings = {"width": width, "size": size, "recipes": {net: one.settings() for net, one in self.recipes.items()}}

    def cells(self) -> list[Cell]:
        """All cells, seed by seed, what others need first."""
        found = []
        for seed in self.seeds:
            for data in self.shelf.sources:
                for net in self.nets:
                    others = [CORRELATION] if self.recipes[net].oracle_examples else []
                    found += [Cell(net, data, seed, arm) for arm in (BASE, *others, *self.arms)]
        return found


def _fill(plan: GridPlan, cells: Cells, console: Console) -> None:
    """Compute what is missing, and say what, and how long the rest takes."""
    missing = [cell for cell in plan.cells() if not cells.has(cell)]
    clock = _Clock(plan, cells)
    for number, cell in enumerate(missing, 1):
        left = clock.left(missing[number - 1 :])
        what = {BASE: "training", CORRELATION: "correlation with the oracle"}.get(cell.arm, title(cell.arm))
        name = f"{TITLES[cell.net]} on {cell.data}, seed {cell.seed}: {what}"
        console.print(f"{number}/{len(missing)} {name}{f', about {_minutes(left)} left' if left else ''}")
        clock.note(cell, cells.value(cell))


class _Clock:
    """How long cells take: as long as others of their kind took, or else what their passes through the net tell."""

    def __init__(self, plan: GridPlan, cells: Cells) -> None:
        self._plan, self._cells = plan, cells
        self._bases: dict[str, Mapping[str, Any]] = {}
        self._seen: dict[tuple[str, str], list[float]] = {}
        self._passes = self._seconds = 0.0

    def note(self, cell: Cell, found: Mapping[str, Any]) -> None:
        """A cell is done."""
        self._bases[cell.net] = self._cells.value(Cell(cell.net, cell.data, cell.seed, BASE))
        effort = self._effort(cell)
        self._passes, self._seconds = self._passes + effort, self._seconds + found["seconds"]
        self._seen.setdefault((cell.net, _kind(cell)), []).append(found["seconds"] / effort)

    def left(self, cells: Sequence[Cell]) -> float:
        """Seconds that these cells take; 0 as long as nothing is known."""
        if not self._passes:
            return 0.0
        found = 0.0
        for cell in cells:
            known = self._seen.get((cell.net, _kind(cell)))
            found += self._effort(cell) * (sum(known) / len(known) if known else self._seconds / self._passes)
        return found

    def _effort(self, cell: Cell) -> float:
        base = self._bases.get(cell.net) or next(iter(self._bases.values()), {"maps": 1000, "macs": 1})
        counts = self._cells.counts[cell.net, cell.data]
        return float(base["macs"]) * forward_passes(self._plan.recipes[cell.net], cell.arm, int(base["maps"]), *counts)


def _kind(cell: Cell) -> str:
    """Cells of one kind take about as long: all criteria are one."""
    return cell.arm if cell.arm in (BASE, CORRELATION, LIBRARY, UNPRUNED) else "criterion"


def _minutes(seconds: float) -> str:
    return f"{math.ceil(seconds / 60)} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _panel(plan: GridPlan, cells: Cells, net: str, data: str) -> dict[str, Any]:
    """All numbers of one net on one data set."""
    bases = [cells.value(Cell(net, data, seed, BASE)) for seed in plan.seeds]
    images = cells.counts[net, data]
    recipe, found = plan.recipes[net], cells.data(Cell(net, data, plan.seeds[0], BASE))
    correlations: dict[str, dict[str, list[float]]] = {}
    for seed in plan.seeds if recipe.oracle_examples else ():
        for name, kinds in cells.value(Cell(net, data, seed, CORRELATION))["correlations"].items():
            for kind, values in kinds.items():
                correlations.setdefault(name, {}).setdefault(kind, []).extend(values)
    return {
        "net": net,
        "data": data,
        "classes": found.classes,
        "training images": images[0],
        "test images": images[1],
        "size": plan.nets[net].size,
        "width": plan.nets[net].width,
        "pretrained": plan.nets[net].weights is not None,
        "maps": bases[0]["maps"],
        "macs": bases[0]["macs"],
        "updates before": bases[0]["updates"],
        "until": recipe.left(bases[0]["maps"]) / bases[0]["maps"],
        "oracle images": min(recipe.oracle_examples, images[0]),
        "base accuracy": [base["accuracy"] for base in bases],
        "correlations": correlations,
        "arms": {arm: [cells.value(Cell(net, data, seed, arm))["curve"] for seed in plan.seeds] for arm in plan.arms},
    }
