"""What a grid would need: hours, memory and disk, from a few updates and the first removal."""

from __future__ import annotations

import gc
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import psutil
from rich.table import Table

from keras_taylor._output.results import Result
from keras_taylor._output.tables import table
from keras_taylor.criteria import criterion_for
from keras_taylor.studies._accuracy import accuracy
from keras_taylor.studies._batches import Batches
from keras_taylor.studies._cost import memory_rise
from keras_taylor.studies._grid import GridPlan
from keras_taylor.studies._grid_arms import ARMS, LIBRARY, UNPRUNED, title
from keras_taylor.studies._grid_cells import BASE, CORRELATION, forward_passes, removed
from keras_taylor.studies._grid_data import GridData, Source
from keras_taylor.studies._grid_net import TITLES, count_maps, maps_of
from keras_taylor.studies._grid_recipe import GridRecipe
from keras_taylor.studies._grid_training import compiled, updated
from keras_taylor.studies._study import environment

IMAGES = {"oxford_flowers102": (2040, 6149), "caltech_birds2011": (5994, 5794)}
"""Training and test images of the paper's data sets: what counts where a data set of this name is a stand-in with fewer."""
UPDATES = 3
"""That are timed, after one that compiles."""


@dataclass(frozen=True)
class GridNeeds(Result):
    """What a grid would need on this machine, as far as a few updates and the first removal tell.

    Attributes:
        panels: for each net and data set what was measured, and what follows: `seconds per update`, `seconds per removal`,
            `removals`, `hours` by arm, `memory` and `disk` in bytes, and more.
        seeds: number of seeds.
        environment: what it was measured with.
    """

    panels: Sequence[Mapping[str, Any]]
    seeds: int
    environment: str

    @property
    def hours(self) -> float:
        """Of all cells, one after the other."""
        return self.seeds * sum(sum(panel["hours"].values()) for panel in self.panels)

    def parts(self) -> list[Table | str]:
        """A table of the panels, one of their hours, and the sums."""
        columns = ("net and data", "images>", "maps>", "GFLOPs>", "removals>", "s per update>", "s per removal>", "images/s>")
        made = table("Measured: a few updates, and the first removal", (*columns, "memory>", "a trained net>"))
        for panel in self.panels:
            counts = f"{panel['training images']:,} + {panel['test images']:,}"
            cells = [panel["name"], counts, f"{panel['maps']:,}", f"{2e-9 * panel['macs']:.3g}", f"{panel['removals']:,}"]
            cells += [f"{panel['seconds per update']:.3g}", f"{panel['seconds per removal']:.3g}"]
            cells += [f"{panel['images per second']:.3g}", _bytes(panel["memory"]), _bytes(panel["disk"])]
            made.add_row(*cells)
        arms = list(dict.fromkeys(arm for panel in self.panels for arm in panel["hours"]))
        hours = table("Hours for one seed", ("", *(f"{panel['name']}>" for panel in self.panels)))
        for arm in arms:
            name = {BASE: "training before", CORRELATION: "correlation with the oracle"}.get(arm, title(arm))
            hours.add_row(name, *(f"{panel['hours'][arm]:.3g}" if arm in panel["hours"] else "" for panel in self.panels))
        memory = max(panel["memory"] for panel in self.panels)
        disk = self.seeds * sum(panel["disk"] for panel in self.panels)
        total = (
            f"In all, for {self.seeds} seed{'s' if self.seeds > 1 else ''}: about {self.hours:.3g} hours on this machine in "
            f"one process, {_bytes(memory)} of memory, and {_bytes(disk)} of disk beside the data. Hours take for granted that "
            "a net which is pruned has 55 % of its multiply-accumulates on average, and that the machine stays as busy as it "
            f"is. {self.environment}."
        )
        return [made, hours, total]


def grid_needs(
    data: Mapping[str, Source],
    *,
    nets: Sequence[str] = ("alexnet", "vgg16"),
    criteria: Sequence[str] = ARMS,
    recipe: str | Mapping[str, GridRecipe] = "paper",
    weights: Mapping[str, str | None] | None = None,
    width: float = 1.0,
    size: int | None = None,
    seeds: Sequence[int] = (0,),
    changed: Mapping[str, Any] | None = None,
) -> GridNeeds:
    """Try a grid up to the first removal of each net on each data set, and say what all of it would need.

    Nothing is stored. Weights are loaded, images are read, trained on for a few updates, scored, and the first maps go.

    Args:
        data: as `kt.studies.grid` takes them. Of the paper's data sets, by their names in TFDS, the numbers of images are
            known: made-up ones may stand in for them.
        nets: names of nets.
        criteria: names of criteria and of the two other arms; the first criterion is the one that is tried.
        recipe: a name, or a recipe for each net.
        weights: what each net starts from.
        width: share of the maps.
        size: height and width of the images.
        seeds: of the grid.
        changed: options of the recipe that are changed for all nets.

    Returns:
        `needs.hours`, `.panels`; `print(needs)` has all of it.

    Raises:
        BadInput: what `kt.studies.grid` refuses.
        UnknownName: a net, a criterion or a recipe that does not exist.

    Example:
        >>> import numpy as np, keras_taylor as kt
        >>> x, y = np.random.default_rng(0).integers(0, 256, (16, 32, 32, 3)).astype("uint8"), np.arange(16) % 2
        >>> needs = kt.studies.grid_needs({"noise": kt.studies.GridData((x, y), (x, y))}, nets=["vgg16"], recipe="small",
        ...                               criteria=["magnitude"], width=0.02, size=32)
        >>> needs.panels[0]["removals"]
        24
    """
    plan = GridPlan(data, nets, criteria, recipe, weights, width, size, seeds, changed)
    return GridNeeds(
        [_tried(plan, net, name) for name in plan.shelf.sources for net in plan.nets], len(plan.seeds), environment()
    )


def _tried(plan: GridPlan, net: str, name: str) -> dict[str, Any]:
    """What the first updates and the first removal of a net took, and what all of them would."""
    recipe, found = plan.recipes[net], plan.shelf.get(name, plan.nets[net].size)
    keras.backend.clear_session()
    gc.collect()
    keras.utils.set_random_seed(plan.seeds[0])
    model = compiled(plan.nets[net].made(found.outputs), recipe, recipe.pruning_rate)
    graph = maps_of(model)
    maps, macs, took = count_maps(graph), graph.macs, dict[str, float]()
    before = psutil.Process().memory_info().rss
    rise = memory_rise(lambda: _first(plan, net, found, graph, took), every=0.02)
    images, test = IMAGES.get(name, (len(found.train[0]), len(found.test[0])))
    update, size = took["update"], min(recipe.batch_size, len(found.train[0]))
    in_batch = recipe.batch_size / size  # a stand-in may have fewer images than a batch
    forward = update / (3 * size)
    hours = {}
    for arm in (BASE, *([CORRELATION] if recipe.oracle_examples else []), *plan.arms):
        seconds = forward * forward_passes(recipe, arm, maps, images, test)
        if arm not in (BASE, CORRELATION, UNPRUNED, LIBRARY):
            seconds += recipe.removals(maps) * took["overhead"]
        hours[arm] = seconds / 3600
    return {
        "name": f"{TITLES[net]} on {name}",
        "training images": images,
        "test images": test,
        "maps": maps,
        "macs": macs,
        "removals": recipe.removals(maps),
        "seconds per update": update * in_batch,
        "seconds per removal": took["removal"],
        "images per second": 1 / (3 * forward),
        "hours": hours,
        "memory": before + rise * 2**20,
        "disk": 2 * 4 * model.count_params(),  # weights and momentum, in float32
    }


def _first(plan: GridPlan, net: str, found: GridData, graph: Any, took: dict[str, float]) -> None:
    """The first updates and the first removal."""
    recipe = plan.recipes[net]
    stream = Batches(*found.train, recipe.batch_size, plan.seeds[0], recipe.augment).endless()
    updated(graph.model, stream, 1)
    start = time.perf_counter()
    updated(graph.model, stream, UPDATES)
    took["update"] = (time.perf_counter() - start) / UPDATES
    arm = next((arm for arm in plan.arms if arm not in (LIBRARY, UNPRUNED)), "taylor")
    rows = np.arange(len(found.train[0]))[: recipe.examples]
    start = time.perf_counter()
    at_once = recipe.at_once(count_maps(graph))
    smaller = removed(graph, criterion_for(arm), found.train, rows, at_once, seed=plan.seeds[0], prove=False)
    took["removal"] = time.perf_counter() - start
    start = time.perf_counter()
    updated(smaller.model, stream, 1)
    # What compiling the smaller net and scoring take beside the passes through it, which are counted anyway.
    passes = len(rows) / min(recipe.batch_size, len(found.train[0])) * took["update"]
    extra = (time.perf_counter() - start) - took["update"] + took["removal"] - passes
    took["overhead"] = max(extra, 0.0)
    accuracy(smaller.model, found.test[0][:64], found.test[1][:64], recipe.batch_size)


def _bytes(count: float) -> str:
    return f"{count / 2**30:.2f} GiB" if count >= 2**30 else f"{count / 2**20:.0f} MiB"
