"""`kt.sweep`: a grid of targets, quantizers, orders and seeds, row by row."""

from __future__ import annotations

import json
import numbers
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keras
from rich.console import Console

from keras_taylor._bops import bops
from keras_taylor._data import batches
from keras_taylor._export import export_tflite
from keras_taylor._files import write_atomically
from keras_taylor._fit import fit_with_pruning
from keras_taylor._graph import ChannelGraph, trace
from keras_taylor._lite import check_runs
from keras_taylor._measure import measure
from keras_taylor._plan import Constraints, PruningPlan, Target, check_constraints, check_rank
from keras_taylor._prune import (
    SCORING_EXAMPLES,
    Removal,
    check_feasible,
    check_readable,
    check_repair,
    check_validation,
    evaluate,
    prune,
)
from keras_taylor._quantize.config import Int8PTQ, Int8QAT, Quantizer, quantizer_for
from keras_taylor._quantize.quantize import Quantized, quantize
from keras_taylor._rebuild import rebuild
from keras_taylor._report import Report
from keras_taylor._schedule import Schedule, schedule_for
from keras_taylor._scoring import DEFAULT_CRITERION
from keras_taylor._sweep.folder import SweepFolder
from keras_taylor._sweep.identity import described_constraints, identity_of_sweep
from keras_taylor._sweep.quantize_while_pruning import quantize_while_pruning
from keras_taylor._sweep.rows import SweepRow
from keras_taylor._sweep.table import SweepTable
from keras_taylor.criteria import Criterion, criterion_for
from keras_taylor.errors import BadInput, KerasTaylorError, unknown_name

ORDERS = ("prune_quantize", "quantize_while_pruning")


def sweep(
    model: Any,
    data: Any,
    *,
    run_dir: str | Path,
    validation_data: Any = None,
    targets: Sequence[float] = (1.0, 0.7, 0.5, 0.3),
    quantizers: Sequence[str | Quantizer] = ("float32", "float16", "dynamic", "int8_ptq", "int8_qat"),
    orders: Sequence[str] = ("prune_quantize",),
    seeds: Sequence[int] = (0,),
    epochs: int = 10,
    schedule: Schedule | None = None,
    criterion: str | Criterion = DEFAULT_CRITERION,
    constraints: Constraints | None = None,
    rank: str = "saving",
    repair: str | Sequence[str] | None = "auto",
    examples: int | None = SCORING_EXAMPLES,
    batch_size: int = 32,
    steps_per_epoch: int | None = None,
    threads: int = 1,
    runs: int = 50,
    verbose: int = 1,
) -> SweepTable:
    """Prune to every target, quantize in every precision, and measure the files: pruning and precision on one axis.

    Every row is one `.tflite` file, measured with LiteRT. It is stored in `run_dir` as soon as it is finished, and so is every
    pruned model: the same call goes on where an interrupted one stopped, and loses the unfinished row at most. More targets,
    seeds, orders or quantizers can be added later. Before each model and each row, the random state of Python, NumPy and
    TensorFlow is set to the seed of the row: with arrays, rows do not depend on where a sweep was interrupted.

    The target 1.0 is the fair baseline: the unpruned model, trained on for the same epochs as the pruned ones. With
    `epochs=0` it is the model itself. Rows of `Int8QAT` are trained for the epochs of the quantizer on top.

    Orders:
        `"prune_quantize"`: prune and fine-tune once for each target and seed, then quantize in every precision.
        `"quantize_while_pruning"`: `Int8QAT` only. Fine-tuning between the removals is quantization-aware. The epochs are
        those of `Int8QAT` after `"prune_quantize"`: `epochs`, and those of the quantizer.

    A row that cannot be made (a layer that a quantizer does not support) is left out, and named in `table.skipped`.

    Args:
        model: a built, compiled Functional or Sequential classifier; it is not changed.
        data: training data as `fit` takes them. Quantizers without data of their own take these, too.
        run_dir: the folder of this sweep.
        validation_data: labelled data on which the accuracy of the files is measured.
        targets: shares of the unpruned model's MACs.
        quantizers: quantizers, or their names.
        orders: see above.
        seeds: each is a repetition of everything.
        epochs: of fine-tuning for each target; 0 prunes in one shot.
        schedule: see `kt.fit_with_pruning`, as for
        criterion: and
        constraints: and
        rank: and
        repair: `"auto"` by default; not applied to the unpruned model.
        examples: as there.
        batch_size: for arrays; quantizers that are given as names take it, too.
        steps_per_epoch: as in `fit`; quantizers that are given as names take it, too.
        threads: of LiteRT.
        runs: invocations of which the latency is the median.
        verbose: 0 is silent, 1 prints a line per row, 2 shows training, too.

    Returns:
        A `kt.SweepTable`.

    Raises:
        BadInput: something that cannot work, or a `run_dir` of another sweep; before any work.
        UnknownName: a quantizer, an order, a criterion or a method of repair that does not exist.
        InfeasibleTarget: a target that cannot be reached.

    Example:
        >>> import keras, numpy as np, tempfile, keras_taylor as kt
        >>> model = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Conv2D(8, 3, activation="relu"),
        ...                           keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(2)])
        >>> model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        >>> x, y = np.random.default_rng(0).random((64, 8, 8, 1)).astype("float32"), np.arange(64) % 2
        >>> table = kt.sweep(model, (x, y), validation_data=(x, y), targets=(1.0, 0.5), quantizers=("float32", "int8_ptq"),
        ...                  epochs=0, run_dir=tempfile.mkdtemp(), verbose=0)
        >>> [(row.target, row.quantizer, row.macs) for row in table.rows]
        [(1.0, 'float32', 2608), (1.0, 'int8_ptq', 2608), (0.5, 'float32', 1304), (0.5, 'int8_ptq', 1304)]
    """
    rules = constraints or Constraints()
    _check_grid(targets, orders, seeds, epochs)
    check_rank(rank)
    check_constraints(constraints)
    check_readable(data)
    check_runs(batch_size=batch_size, threads=threads, runs=runs)
    if validation_data is None:
        raise BadInput("validation_data must be given: rows are compared by their accuracy on it. Received: None. Pass (x, y).")
    check_validation(validation_data)
    if not model.compiled:
        raise BadInput(f"The model must be compiled. Received: {model.name!r}. Call model.compile(optimizer, loss) first.")
    graph = trace(model)
    if len(model.outputs) != 1:
        raise BadInput(f"The model must have one output, whose accuracy is measured. Received: {len(model.outputs)}.")
    if model.outputs[0].shape[-1] == 1:
        raise BadInput(
            "The model must put out one number per class. Received: a single output unit. Use two units and softmax."
        )
    for target in targets:
        check_feasible(graph, Target(macs=target), rules)
    check_repair(repair, data)
    steps = schedule_for(schedule, epochs)
    chosen = [_with_defaults(one, batch_size, steps_per_epoch) for one in quantizers]
    if len({quantizer.name for quantizer in chosen}) < len(chosen) or not chosen:
        raise BadInput(f"quantizers must be different, and at least one. Received: {[q.name for q in chosen]}.")
    for part in (data, validation_data):
        next(batches(part, batch_size=1, examples=1))  # no labels or no examples: an error before any work
    settings = {
        "epochs": epochs,
        "schedule": str(steps),
        "criterion": criterion_for(criterion).name,
        **criterion_for(criterion).settings(),
        "rank": rank,
        "repair": repair,
        "examples": examples,
        "batch_size": batch_size,
        "steps_per_epoch": steps_per_epoch,
        "constraints": described_constraints(rules),
        "threads": threads,
        "runs": runs,
    }
    identity = identity_of_sweep(model, graph, {"train": data, "validation": validation_data}, settings, chosen)
    removal = Removal(criterion_for(criterion), rank, model.loss, examples, batch_size, repair=repair, verbose=int(verbose > 1))
    grid = _Grid(
        model,
        data,
        validation_data,
        graph,
        SweepFolder(run_dir, identity),
        removal,
        rules,
        steps,
        epochs,
        {"batch_size": batch_size, "steps_per_epoch": steps_per_epoch, "verbose": "auto" if verbose > 1 else 0},
        {"threads": threads, "runs": runs, "batch_size": batch_size},
    )
    cells = [
        _Cell(float(target), seed, order, quantizer)
        for target in targets
        for order in orders
        for quantizer in chosen
        for seed in seeds
        if order == "prune_quantize" or isinstance(quantizer, Int8QAT)
    ]
    rows, skipped = _fill(grid, cells, verbose)
    without = ", ".join(quantizer.name for quantizer in chosen if not isinstance(quantizer, Int8QAT))
    if "quantize_while_pruning" in orders and without:
        skipped["quantize_while_pruning"] = f"it is an order for int8_qat alone, not for {without}"
    return SweepTable(tuple(rows), {"model": model.name, **settings}, skipped)


@dataclass(frozen=True)
class _Cell:
    """One place of the grid."""

    target: float
    seed: int
    order: str
    quantizer: Quantizer

    @property
    def key(self) -> str:
        return f"macs{self.target!r}-seed{self.seed}-{self.order}-{self.quantizer.name}"


def _fill(grid: _Grid, cells: Sequence[_Cell], verbose: int) -> tuple[list[SweepRow], dict[str, str]]:
    """The rows of the cells in their order, stored ones and new ones, and what has none."""
    console = Console(quiet=not verbose, highlight=False, markup=False, soft_wrap=True)
    rows, skipped, failures = [], {}, []
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


@dataclass
class _Grid:
    """What all rows share, and how one is made."""

    model: Any
    data: Any
    validation_data: Any
    graph: ChannelGraph
    folder: SweepFolder
    removal: Removal
    constraints: Constraints
    schedule: Schedule
    epochs: int
    fitting: dict[str, Any]
    measuring: dict[str, Any]

    def row(self, cell: _Cell) -> SweepRow:
        """Make the file of a cell, and measure it."""
        quantizer = self._fed(cell)
        small, plan, trained = None, None, 0.0
        if cell.order == "prune_quantize":
            small, plan, trained = self._pruned(cell.target, cell.seed)
        keras.utils.set_random_seed(cell.seed)
        start = time.perf_counter()
        if small is not None:
            made = quantize(small, quantizer)
        else:
            made, plan = self._pruned_in_8_bits(cell, quantizer)
            self._compile(made.model)
        path = self.folder.file(cell.key)
        export_tflite(made, path, plan=plan)
        found = measure(path, self.validation_data, model=made.model, **self.measuring)
        assert found.value is not None  # there are data
        graph = trace(made.model)
        bit_operations = bops(graph, quantizer)
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
            bops=bit_operations,
            relative_bops=bit_operations / bops(self.graph),
            bytes=found.bytes,
            gzip_bytes=found.gzip_bytes,
            latency_ms=found.latency.median_ms,
            latency_q1_ms=found.latency.q1_ms,
            latency_q3_ms=found.latency.q3_ms,
            training_seconds=trained,
            seconds=time.perf_counter() - start,
            path=str(path.relative_to(self.folder.root)),
        )

    def _fed(self, cell: _Cell) -> Quantizer:
        """The quantizer with the seed of the row, and with the sweep's data where it needs some and has none."""
        quantizer = cell.quantizer
        if isinstance(quantizer, Int8PTQ):
            return replace(quantizer, seed=cell.seed, calibration=_first(quantizer.calibration, self.data))
        if isinstance(quantizer, Int8QAT):
            loss = quantizer.loss or self.model.loss
            return replace(quantizer, seed=cell.seed, data=_first(quantizer.data, self.data), loss=loss)
        return quantizer

    def _pruned(self, target: float, seed: int) -> tuple[Any, PruningPlan, float]:
        """The pruned float model of a target and a seed, its plan, and the seconds that it took; made once, then read."""
        path = self.folder.model(target, seed)
        plan_path, report_path = path.with_name("plan.json"), path.with_name("report.json")
        if not path.exists():
            keras.utils.set_random_seed(seed)
            start = time.perf_counter()
            made, plan, report = self._prune(target, seed)
            self._compile(made)
            report.settings["seconds"] = time.perf_counter() - start
            plan.save(plan_path)
            report.save(report_path)
            write_atomically(path, made.save)  # last: where it is, the others are
        plan = PruningPlan.load(plan_path)
        # Weights alone: a custom layer or loss need not be registered.
        small = rebuild(self.model, plan)
        self._compile(small)
        small.load_weights(path)
        seconds = json.loads(report_path.read_text(encoding="utf-8"))["settings"]["seconds"]
        return small, plan, seconds

    def _prune(self, target: float, seed: int) -> tuple[Any, PruningPlan, Report]:
        if not self.epochs and target == 1:
            return rebuild(self.model, PruningPlan({})), PruningPlan({}), Report()
        options = {
            "target": Target(macs=target),
            "criterion": self.removal.criterion,
            "constraints": self.constraints,
            "rank": self.removal.rank,
            "examples": self.removal.examples,
            "repair": self.removal.repair if target < 1 else None,
            "validation_data": self.validation_data,
            "seed": seed,
        }
        if self.epochs:
            fitting = {**options, **self.fitting, "epochs": self.epochs, "schedule": self.schedule}
            result = fit_with_pruning(self.model, self.data, **fitting)
        else:
            verbose = self.removal.verbose
            result = prune(self.model, self.data, batch_size=self.fitting["batch_size"], verbose=verbose, **options)
        return result.model, result.plan, result.report

    def _pruned_in_8_bits(self, cell: _Cell, quantizer: Quantizer) -> tuple[Quantized, PruningPlan]:
        assert isinstance(quantizer, Int8QAT)
        return quantize_while_pruning(
            self.model,
            self.data,
            quantizer,
            Target(macs=cell.target),
            epochs=self.epochs,
            schedule=self.schedule,
            removal=replace(self.removal, seed=cell.seed, repair=self.removal.repair if cell.target < 1 else None),
            constraints=self.constraints,
        )

    def _compile(self, model: Any) -> None:
        """To measure; with an optimizer that has no slots to store."""
        model.compile("sgd", self.model.loss, metrics=["accuracy"])


def _first(given: Any, default: Any) -> Any:
    return default if given is None else given


def _with_defaults(given: str | Quantizer, batch_size: int, steps_per_epoch: int | None) -> Quantizer:
    """The quantizer; one that is given as a name trains in the sweep's batches."""
    quantizer = quantizer_for(given)
    if isinstance(given, str) and isinstance(quantizer, Int8QAT):
        return replace(quantizer, batch_size=batch_size, steps_per_epoch=steps_per_epoch)
    return quantizer


def _check_grid(targets: Sequence[float], orders: Sequence[str], seeds: Sequence[int], epochs: int) -> None:
    if not targets or len(set(targets)) < len(targets):
        raise BadInput(f"targets must be different, and at least one. Received: {targets!r}.")
    for target in targets:
        if isinstance(target, bool) or not isinstance(target, numbers.Real) or not 0 < target <= 1:
            raise BadInput(f"targets must be shares of the MACs in (0, 1]. Received: {target!r}. Pass 0.5 to keep half.")
    for order in orders:
        if order not in ORDERS:
            raise unknown_name("order", order, ORDERS)
    if not orders or len(set(orders)) < len(orders):
        raise BadInput(f"orders must be different, and at least one. Received: {orders!r}.")
    if (
        not isinstance(seeds, Sequence)
        or not seeds
        or len(set(seeds)) < len(seeds)
        or not all(isinstance(seed, int) and seed >= 0 for seed in seeds)
    ):
        raise BadInput(f"seeds must be different whole numbers of at least 0, and at least one. Received: {seeds!r}.")
    if not isinstance(epochs, int) or epochs < 0:
        raise BadInput(f"epochs must be a whole number of at least 0. Received: {epochs!r}.")
    if not epochs and "quantize_while_pruning" in orders:
        raise BadInput("quantize_while_pruning must have epochs to train in between. Received: epochs=0. Pass epochs=10.")
