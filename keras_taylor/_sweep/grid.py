"""The cells of a sweep, and what it takes to fill one."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import keras
from rich.console import Console

from keras_taylor._measure.measure import measure
from keras_taylor._output.files import write_atomically
from keras_taylor._plan.pruning_plan import PruningPlan
from keras_taylor._plan.target import Target
from keras_taylor._quantize.export import export_tflite
from keras_taylor._quantize.quantize import quantize
from keras_taylor._quantize.tflite_file import TFLiteFile
from keras_taylor._rebuild.rebuild import copy_model, rebuild
from keras_taylor._run.fit import fit_with_pruning
from keras_taylor._run.prune import prune
from keras_taylor._run.recipe import Recipe
from keras_taylor._run.report import Report, evaluate
from keras_taylor._run.schedule import schedule_for
from keras_taylor._run.step import PruningStep
from keras_taylor._sweep.first_files import refused, unpruned_bops
from keras_taylor._sweep.quantize_while_pruning import quantize_while_pruning
from keras_taylor._sweep.rows import SweepRow
from keras_taylor._sweep.store import SweepFolder
from keras_taylor._trace.graph import ChannelGraph, trace
from keras_taylor.errors import BadInput, KerasTaylorError
from keras_taylor.quantizers import Quantizer, quantizer_for

ORDERS = ("prune_quantize", "quantize_while_pruning")


@dataclass(frozen=True)
class Cell:
    """One place of the grid."""

    target: float
    seed: int
    order: str
    quantizer: Quantizer

    @property
    def key(self) -> str:
        return f"macs{self.target!r}-seed{self.seed}-{self.order}-{self.quantizer.name}"


def fill(grid: Grid, cells: Sequence[Cell], verbose: int) -> tuple[list[SweepRow], dict[str, str]]:
    """The rows of the cells in their order, stored ones and new ones, and what has none."""
    console = Console(quiet=not verbose, highlight=False, markup=False, soft_wrap=True)
    rows, skipped = [], {}
    impossible = grid.impossible(cells)
    failures = list(impossible.values())
    for name, error in impossible.items():
        skipped[name] = f"{type(error).__name__}: {error}"
        console.print(f"{name}: no rows. {skipped[name]}")
    cells = [cell for cell in cells if cell.quantizer.name not in impossible]
    for number, cell in enumerate(cells, 1):
        row = grid.folder.row(cell.key)
        if row is None:
            try:
                row = grid.row(cell)
            except KerasTaylorError as error:
                failures.append(error)
                skipped[cell.key] = f"{type(error).__name__}: {error}"
                console.print(f"{number}/{len(cells)} {cell.key}: no row. {skipped[cell.key]}")
                continue
            grid.folder.store(cell.key, row)
        rows.append(row)
        console.print(
            f"{number}/{len(cells)} {cell.key}: accuracy {row.accuracy:.4f}, {100 * row.relative_bops:.3g} % of the BOPs, "
            f"{row.bytes:,} bytes, {row.latency_ms:.3f} ms, made in {row.seconds:.0f} s"
        )
    if failures and not rows:
        raise failures[0]
    return rows, skipped


@dataclass(frozen=True)
class Grid:
    """What all rows share, and how one is made."""

    graph: ChannelGraph
    data: Any
    validation_data: Any
    folder: SweepFolder
    recipe: Recipe
    epochs: int
    batch_size: int
    steps_per_epoch: int | None
    allow_uncounted: bool
    verbose: int
    measuring: Mapping[str, Any]

    @cached_property
    def full_bops(self) -> int:
        """Bit operations of the unpruned net in float32, of which rows have a share."""
        return unpruned_bops(self.graph)

    def impossible(self, cells: Sequence[Cell]) -> dict[str, KerasTaylorError]:
        """By name, the quantizers of unfinished cells that the unpruned net cannot be converted with."""
        missing = {cell.quantizer.name: cell.quantizer for cell in cells if self.folder.row(cell.key) is None}
        if not missing:
            return {}
        if not self.full_bops:
            raise BadInput(f"The model must compute something. Received: {self.graph.name!r}, which multiplies nothing.")
        return refused(self.graph, list(missing.values()), self.data)

    def row(self, cell: Cell) -> SweepRow:
        """Make the file of a cell, and measure it."""
        # With the seed of the row, and with the sweep's data where it needs some and has none.
        quantizer = cell.quantizer.with_data(self.data, seed=cell.seed, loss=self.graph.model.loss)
        small, plan, trained = None, None, 0.0
        if cell.order == "prune_quantize":
            small, plan, trained = self._pruned(cell.target, cell.seed)
        keras.utils.set_random_seed(cell.seed)
        start = time.perf_counter()
        if small is not None:
            made = quantize(small, quantizer, verbose="auto" if self.verbose > 1 else 0)
        else:
            made, plan = self._pruned_in_8_bits(cell, quantizer)
            self._compile(made.model)
        path = self.folder.file(cell.key)
        export_tflite(made, path, plan=plan)
        graph = trace(made.model)
        found = measure(path, self.validation_data, model=graph, verbose=0, **self.measuring)
        assert found.value is not None  # there are data
        assert found.bops is not None  # there is a model
        return SweepRow(
            target=cell.target,
            seed=cell.seed,
            order=cell.order,
            quantizer=quantizer.name,
            weight_bits=quantizer.weight_bits,
            activation_bits=quantizer.activation_bits,
            accuracy=found.value,
            float_accuracy=evaluate(made.model, self.validation_data, self.measuring["batch_size"])["accuracy"],
            examples=found.examples,
            macs=graph.macs,
            params=graph.params,
            bops=found.bops,
            relative_bops=found.bops / self.full_bops,
            bytes=found.size,
            gzip_bytes=found.gzip_size,
            latency_ms=found.latency.median_ms,
            latency_q1_ms=found.latency.q1_ms,
            latency_q3_ms=found.latency.q3_ms,
            training_seconds=trained,
            seconds=time.perf_counter() - start,
            path=str(path.relative_to(self.folder.root)),
            device=found.latency.device,
        )

    def _pruned(self, target: float, seed: int) -> tuple[Any, PruningPlan, float]:
        """The pruned float model of a target and a seed, its plan, and the seconds that it took; made once, then read."""
        path = self.folder.model(target, seed)
        plan_path, report_path = path.with_name("plan.json"), path.with_name("report.json")
        if not path.exists():
            keras.utils.set_random_seed(seed)
            made, plan, report = self._prune(target, seed)
            self._compile(made)
            plan.save(plan_path)
            report.save(report_path)
            write_atomically(path, made.save)  # last: where it is, the others are
        plan = PruningPlan.load(plan_path)
        # Weights alone: a custom layer or loss need not be registered.
        small = rebuild(self.graph, plan)
        self._compile(small)
        small.load_weights(path)
        return small, plan, Report.load(report_path).seconds

    def _prune(self, target: float, seed: int) -> tuple[Any, PruningPlan, Report]:
        if not self.epochs and target == 1:
            return copy_model(self.graph), PruningPlan({}), Report()
        options: dict[str, Any] = {
            "target": self._target(target),
            "recipe": self._recipe(target),
            "validation_data": self.validation_data,
            "batch_size": self.batch_size,
            "seed": seed,
            "verbose": "auto" if self.verbose > 1 else 0,
        }
        if self.epochs:
            options |= {"epochs": self.epochs, "steps_per_epoch": self.steps_per_epoch}
        result = (fit_with_pruning if self.epochs else prune)(self.graph, self.data, **options)
        return result.model, result.plan, result.report

    def _target(self, share: float) -> Target:
        return Target(macs=share, allow_uncounted=self.allow_uncounted)

    def _recipe(self, target: float) -> Recipe:
        """The recipe for a target: the unpruned model needs no repair, and the data that measure must not choose."""
        repair = self.recipe.repair if target < 1 else None
        return replace(self.recipe, repair=repair, keep_best=False)

    def _pruned_in_8_bits(self, cell: Cell, quantizer: Quantizer) -> tuple[TFLiteFile, PruningPlan]:
        model, verbose = self.graph.model, int(self.verbose > 1)
        step = PruningStep(self._recipe(cell.target), model.loss, self.batch_size, seed=cell.seed, verbose=verbose)
        target, epochs = self._target(cell.target), self.epochs
        schedule = schedule_for(self.recipe.schedule, epochs, cell.target)
        return quantize_while_pruning(self.graph, self.data, quantizer, target, epochs=epochs, schedule=schedule, step=step)

    def _compile(self, model: Any) -> None:
        """To measure; with an optimizer that has no slots to store."""
        model.compile("sgd", self.graph.model.loss, metrics=["accuracy"])


def with_defaults(given: str | Quantizer, batch_size: int, steps_per_epoch: int | None) -> Quantizer:
    """The quantizer; one that is given as a name trains in the sweep's batches."""
    quantizer = quantizer_for(given)
    if isinstance(given, str):
        return quantizer.with_training(batch_size=batch_size, steps_per_epoch=steps_per_epoch)
    return quantizer
