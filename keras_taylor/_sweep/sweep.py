"""`kt.sweep`: a grid of targets, quantizers, orders and seeds, row by row."""

from __future__ import annotations

import numbers
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from keras_taylor._keras.batches import batches
from keras_taylor._plan.constraints import Constraints, check_constraints
from keras_taylor._plan.plan import check_rank
from keras_taylor._plan.target import Target
from keras_taylor._run.checks import check_feasible, check_readable, check_repair, check_validation
from keras_taylor._run.schedule import Schedule, schedule_for
from keras_taylor._run.step import SCORING_EXAMPLES, PruningStep
from keras_taylor._score.score import DEFAULT_CRITERION
from keras_taylor._sweep.grid import ORDERS, Cell, Grid, fill, with_defaults
from keras_taylor._sweep.store import SweepFolder, described_constraints, identity_of_sweep
from keras_taylor._sweep.table import SweepTable
from keras_taylor._trace.graph import trace
from keras_taylor.criteria import Criterion, criterion_for
from keras_taylor.errors import BadInput, unknown_name
from keras_taylor.litert._latency import check_runs
from keras_taylor.quantizers import Quantizer


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
    chosen = [with_defaults(one, batch_size, steps_per_epoch) for one in quantizers]
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
    removal = PruningStep(
        criterion_for(criterion), rank, model.loss, examples, batch_size, repair=repair, verbose=int(verbose > 1)
    )
    grid = Grid(
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
        Cell(float(target), seed, order, quantizer)
        for target in targets
        for order in orders
        for quantizer in chosen
        for seed in seeds
        if order == "prune_quantize" or quantizer.trains
    ]
    rows, skipped = fill(grid, cells, verbose)
    without = ", ".join(quantizer.name for quantizer in chosen if not quantizer.trains)
    if "quantize_while_pruning" in orders and without:
        skipped["quantize_while_pruning"] = f"it is an order for int8_qat alone, not for {without}"
    return SweepTable(tuple(rows), {"model": model.name, **settings}, skipped)


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
