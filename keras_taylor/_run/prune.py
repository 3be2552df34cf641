"""`kt.prune`: one removal, without training."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import keras

from keras_taylor._keras.batches import infinite, joined
from keras_taylor._keras.forms import as_data, is_infinite
from keras_taylor._measure.latency_budget import Stopwatch
from keras_taylor._output.deprecations import renamed
from keras_taylor._plan.plan import check_target
from keras_taylor._plan.target import Target
from keras_taylor._rebuild.rebuild import copy_model
from keras_taylor._run.checks import check_data, check_feasible, check_validation
from keras_taylor._run.recipe import Recipe, recipe_for, takes_old_options
from keras_taylor._run.report import Report, evaluate, timed
from keras_taylor._run.result import PruningResult
from keras_taylor._run.step import PruningStep
from keras_taylor._trace.graph import as_graph, trace
from keras_taylor._trace.input_range import remember_inputs, warns_once
from keras_taylor.errors import warn


@renamed(data="x")
@takes_old_options
@warns_once
def prune(
    model: Any,
    x: Any = None,
    y: Any = None,
    *,
    target: Target,
    recipe: Recipe | str | None = None,
    loss: Any = None,
    validation_data: Any = None,
    class_weight: Mapping[int, float] | None = None,
    batch_size: int = 32,
    seed: int = 0,
    verbose: Any = "auto",
) -> PruningResult:
    """Make a model smaller in one shot, without training: score, plan, rebuild, verify, repair.

    With a latency in the target, the parts of the model are timed first (once per device: the times are kept in
    `$KERAS_TAYLOR_CACHE`, or `keras_taylor` in the user's cache folder). Then pruned models are exported and timed beside the
    unpruned one, until one is within the budget and within 5 % of it.

    Args:
        model: a built Functional or Sequential model; it is not changed.
        x: what `fit` takes: arrays, a tuple `(x, y[, sample_weight])`, a `tf.data.Dataset`, a `PyDataset`. Without labels,
            channels are scored against the model's own predictions. None for criteria that need no data: then nothing is
            repaired.
        y: labels, where `x` are input arrays.
        target: the budget, for example `kt.Target(macs=0.5)`.
        recipe: how channels are chosen and the rest repaired; `kt.Recipe()` by default, `"paper"` is that of Molchanov et al.
            2017. Its `schedule` is left out.
        loss: a loss to use instead of the compiled one.
        validation_data: what `evaluate` takes; the report then shows the compiled metrics before and after.
        class_weight: weight of each class index, as in `fit`.
        batch_size: examples in a batch, for arrays.
        seed: for the sample and for criteria that draw random numbers.
        verbose: 0 is silent, 1 shows progress bars; `"auto"` is 1.

    Returns:
        `result.model`, `.plan`, `.report`, `.repair`.

    Raises:
        KerasTaylorError: see `kt.score`, `kt.plan`, `kt.rebuild` and `kt.repair`; nothing is changed then.

    Example:
        >>> import keras, numpy as np, keras_taylor as kt
        >>> model = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Conv2D(8, 3, activation="relu"),
        ...                           keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(2)])
        >>> result = kt.prune(model, target=kt.Target(macs=0.5), recipe=kt.Recipe(criterion="magnitude"), verbose=0)
        >>> result.model.layers[1].filters
        4
    """
    start = time.perf_counter()
    check_target(target)
    recipe, data = recipe_for(recipe), joined(x, y)
    validation_data = as_data(validation_data)
    if is_infinite(validation_data):
        raise infinite(validation_data, "validation_data that end: a tf.data.Dataset has .take(10)")
    if recipe.schedule is not None and recipe.schedule.steps > 1:
        warn(f"kt.prune removes all at once, and leaves {recipe.schedule} out: it is for kt.fit_with_pruning and kt.sweep.")
    graph = as_graph(model)
    check_feasible(graph, target, recipe.constraints)
    check_validation(graph.model, validation_data)
    check_data(graph.model, data, recipe, loss=loss)
    remember_inputs(graph.model, data)
    step = PruningStep(recipe, loss, batch_size, class_weight, seed, verbose)
    report = Report({"target": str(target), **recipe.settings(), "seed": seed})
    stopwatch = Stopwatch(graph, target, verbose=verbose) if target.timed else None
    budgets = target.absolute(stopwatch.totals if stopwatch else graph.cost.totals())
    # A copy is evaluated: the model's own metrics keep their state.
    whole = graph.model if validation_data is None or not graph.model.compiled else copy_model(graph)
    found = evaluate(whole, validation_data, batch_size) | timed(stopwatch.dense if stopwatch else None)
    report = report.with_stage("before", graph, found, seconds=time.perf_counter() - start)
    removed = step.remove(graph, data, budgets, recipe.constraints, stopwatch)
    found = evaluate(removed.model, validation_data, batch_size) | timed(stopwatch.pruned if stopwatch else None)
    report = report.with_settings(stopwatch.settings() if stopwatch else {})
    report = report.with_stage("final", trace(removed.model), found, seconds=time.perf_counter() - start)
    history = keras.callbacks.History()
    history.epoch = []
    return PruningResult(removed.model, removed.plan, report, history, removed.repair)
