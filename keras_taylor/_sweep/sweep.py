"""`kt.sweep`: a grid of targets, quantizers, orders and seeds, row by row."""

from __future__ import annotations

import numbers
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from keras_taylor._keras.batches import infinite, joined
from keras_taylor._keras.forms import as_data, is_infinite
from keras_taylor._keras.progress import verbosity
from keras_taylor._output.deprecations import renamed
from keras_taylor._plan.target import Target
from keras_taylor._run.checks import check_data, check_feasible, check_validation
from keras_taylor._run.recipe import Recipe, recipe_for, takes_old_options
from keras_taylor._run.schedule import check_schedule
from keras_taylor._sweep.grid import ORDERS, Cell, Grid, fill, with_defaults
from keras_taylor._sweep.store import SweepFolder, identity_of_sweep
from keras_taylor._sweep.table import SweepTable
from keras_taylor._trace.graph import as_graph
from keras_taylor._trace.input_range import remember_inputs, warns_once
from keras_taylor.errors import BadInput, several, unknown_name, whole_number
from keras_taylor.litert._latency import check_runs
from keras_taylor.quantizers import Quantizer


@renamed(data="x")
@takes_old_options
@warns_once
def sweep(
    model: Any,
    x: Any,
    y: Any = None,
    *,
    run_dir: str | Path,
    validation_data: Any,
    targets: Sequence[float] = (1.0, 0.7, 0.5, 0.3),
    quantizers: Sequence[str | Quantizer] = ("float32", "float16", "dynamic", "int8_ptq", "int8_qat"),
    orders: Sequence[str] = ("prune_quantize",),
    seeds: Sequence[int] = (0,),
    epochs: int = 10,
    recipe: Recipe | str | None = None,
    batch_size: int = 32,
    steps_per_epoch: int | None = None,
    threads: int = 1,
    runs: int = 50,
    allow_uncounted: bool = False,
    verbose: Any = "auto",
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

    Before the first epoch, the unpruned model is converted in every precision: one in which there is no file is left out, and
    so is a row that cannot be made later. `table.skipped` names them with the reason.

    Args:
        model: a built, compiled Functional or Sequential classifier; it is not changed.
        x: training data as `fit` takes them. Quantizers without data of their own take these, too.
        y: labels, where `x` are input arrays.
        run_dir: the folder of this sweep.
        validation_data: labelled data on which the accuracy of the files is measured.
        targets: shares of the unpruned model's MACs; a list, like the three that follow.
        quantizers: quantizers, or their names.
        orders: `"prune_quantize"`, `"quantize_while_pruning"` or both, as described above.
        seeds: each is a repetition of everything.
        epochs: of fine-tuning for each target; 0 prunes in one shot.
        recipe: how every model is pruned; the unpruned one is not repaired. `kt.Recipe()` by default.
        batch_size: examples in a batch, for arrays; quantizers that are given as names take it, too.
        steps_per_epoch: as in `fit`; quantizers that are given as names take it, too.
        threads: of LiteRT.
        runs: invocations of which the latency is the median.
        allow_uncounted: as in `kt.Target`: accept that MACs leave out operations which cannot be counted.
        verbose: 0 is silent, 1 prints a line per row, 2 shows training, too; `"auto"` is 1.

    Returns:
        A `kt.SweepTable`.

    Raises:
        BadInput: something that cannot work, or a `run_dir` of another sweep; before any work.
        UnknownName: a quantizer, an order, a criterion or a method of repair that does not exist.
        InfeasibleTarget: a target that cannot be reached.
        ConversionError: the model has no file in float32, or in none of the precisions.

    Example:
        >>> import keras, numpy as np, tempfile, keras_taylor as kt
        >>> model = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Conv2D(8, 3, activation="relu"),
        ...                           keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(2)])
        >>> model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        >>> x, y = np.random.default_rng(0).random((64, 8, 8, 1)).astype("float32"), np.arange(64) % 2
        >>> table = kt.sweep(model, x, y, validation_data=(x, y), targets=(1.0, 0.5), quantizers=("float32", "int8_ptq"),
        ...                  epochs=0, run_dir=tempfile.mkdtemp(), verbose=0)
        >>> [(row.target, row.quantizer, row.macs) for row in table.rows]
        [(1.0, 'float32', 2608), (1.0, 'int8_ptq', 2608), (0.5, 'float32', 1304), (0.5, 'int8_ptq', 1304)]
    """
    recipe, data, level = recipe_for(recipe), joined(x, y), verbosity(verbose)
    epochs, validation_data = whole_number("epochs", epochs, least=0), as_data(validation_data)
    if is_infinite(data) and epochs and not steps_per_epoch:
        raise infinite(data, "steps_per_epoch=100")
    if is_infinite(validation_data):
        raise infinite(validation_data, "validation_data that end: a tf.data.Dataset has .take(10)")
    _check_axes(targets, orders, seeds, epochs)
    check_runs(batch_size=batch_size, threads=threads, runs=runs)
    graph = as_graph(model)
    _check_classifier(graph.model, validation_data)
    for target in targets:
        check_feasible(graph, Target(macs=target, allow_uncounted=allow_uncounted), recipe.constraints)
    check_schedule(recipe.schedule, epochs)
    chosen = [with_defaults(one, batch_size, steps_per_epoch) for one in several("quantizers", quantizers)]
    if len({quantizer.name for quantizer in chosen}) < len(chosen) or not chosen:
        raise BadInput(f"quantizers must be different, and at least one. Received: {[q.name for q in chosen]}.")
    check_data(graph.model, data, recipe, trains=True)
    check_validation(graph.model, validation_data)
    remember_inputs(graph.model, data)
    settings = {
        "epochs": epochs,
        "schedule": "geometric" if recipe.schedule is None else str(recipe.schedule),
        **recipe.settings(),
        "batch_size": batch_size,
        "steps_per_epoch": steps_per_epoch,
        "threads": threads,
        "runs": runs,
    }
    grid = Grid(
        graph=graph,
        data=data,
        validation_data=validation_data,
        folder=SweepFolder(run_dir, identity_of_sweep(graph, {"train": data, "validation": validation_data}, settings, chosen)),
        recipe=recipe,
        epochs=epochs,
        batch_size=batch_size,
        steps_per_epoch=steps_per_epoch,
        allow_uncounted=allow_uncounted,
        verbose=level,
        measuring={"threads": threads, "runs": runs, "batch_size": batch_size},
    )
    cells = [
        Cell(float(target), seed, order, quantizer)
        for target in targets
        for order in orders
        for quantizer in chosen
        for seed in seeds
        if order == "prune_quantize" or quantizer.trains
    ]
    rows, skipped = fill(grid, cells, level)
    without = ", ".join(quantizer.name for quantizer in chosen if not quantizer.trains)
    if "quantize_while_pruning" in orders and without:
        skipped["quantize_while_pruning"] = f"it is an order for int8_qat alone, not for {without}"
    gap = {"uncounted": graph.uncounted} if graph.uncounted else {}
    return SweepTable(tuple(rows), {"model": graph.name, **settings, **gap}, skipped)


def _check_axes(targets: Sequence[float], orders: Sequence[str], seeds: Sequence[int], epochs: int) -> None:
    for name, values in (("targets", targets), ("orders", orders), ("seeds", seeds)):
        several(name, values)
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
        or not all(isinstance(seed, int) and not isinstance(seed, bool) and seed >= 0 for seed in seeds)
    ):
        raise BadInput(f"seeds must be different whole numbers of at least 0, and at least one. Received: {seeds!r}.")
    if not epochs and "quantize_while_pruning" in orders:
        raise BadInput("quantize_while_pruning must have epochs to train in between. Received: epochs=0. Pass epochs=10.")


def _check_classifier(model: Any, validation_data: Any) -> None:
    """Raise `BadInput` unless the accuracy of the model can be measured on the validation data."""
    if validation_data is None:
        raise BadInput("validation_data must be given: rows are compared by their accuracy on it. Received: None. Pass (x, y).")
    if not model.compiled:
        raise BadInput(f"The model must be compiled. Received: {model.name!r}. Call model.compile(optimizer, loss) first.")
    if len(model.outputs) != 1:
        raise BadInput(f"The model must have one output, whose accuracy is measured. Received: {len(model.outputs)}.")
    if model.outputs[0].shape[-1] == 1:
        raise BadInput(
            "The model must put out one number per class. Received: a single output unit. Use two units and softmax."
        )
    check_validation(model, validation_data)
