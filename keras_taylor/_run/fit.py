"""`fit_with_pruning`: alternate scoring, removal and fine-tuning until the budget is met, then fine-tune."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras

from keras_taylor._keras.batches import infinite, joined, peek
from keras_taylor._keras.forms import as_data, is_infinite
from keras_taylor._keras.model import compile_options, feed, trains_on_labels
from keras_taylor._keras.progress import verbosity
from keras_taylor._measure.latency_budget import Stopwatch
from keras_taylor._output.deprecations import renamed
from keras_taylor._plan.plan import check_target
from keras_taylor._plan.target import Target
from keras_taylor._rebuild.rebuild import copy_model, flat_names
from keras_taylor._rebuild.verify import run as run_model
from keras_taylor._run.checks import check_data, check_feasible, check_validation
from keras_taylor._run.distill import Distill, check_distill, learns
from keras_taylor._run.invariance import is_invariant
from keras_taylor._run.learnt import has_learnt
from keras_taylor._run.recipe import Recipe, recipe_for, takes_old_options
from keras_taylor._run.result import PruningResult
from keras_taylor._run.run import Run, run_folder
from keras_taylor._run.schedule import check_schedule, schedule_for
from keras_taylor._run.step import PruningStep
from keras_taylor._trace.graph import ChannelGraph, as_graph
from keras_taylor._trace.input_range import inherit_inputs, remember_inputs, warns_once
from keras_taylor.errors import BadInput, whole_number

_TRAINING = ("train_step", "test_step", "compute_loss", "compute_metrics")


@renamed(data="x")
@takes_old_options
@warns_once
def fit_with_pruning(
    model: Any,
    x: Any,
    y: Any = None,
    *,
    target: Target,
    epochs: int = 10,
    recipe: Recipe | str | None = None,
    loss: Any = None,
    optimizer: Any = None,
    metrics: Any = None,
    validation_data: Any = None,
    validation_steps: int | None = None,
    validation_batch_size: int | None = None,
    callbacks: Sequence[Any] | None = None,
    class_weight: Mapping[int, float] | None = None,
    batch_size: int | None = None,
    steps_per_epoch: int | None = None,
    shuffle: bool = True,
    run_dir: str | Path | None = None,
    seed: int = 0,
    verbose: Any = "auto",
) -> PruningResult:
    """Prune while fine-tuning: score, remove, train; again until the budget is met; then train what is left of `epochs`.

    By default a model that has learnt its labels teaches what is left of it: training minimises the distance from what the
    unpruned model computes (`kt.Distill`), and `loss` in the history, not `val_loss`, is that distance. A model that has not is
    trained on its labels. `report.settings["learns"]` says which.

    Each stretch of training between two removals is one `fit`: callbacks see `on_train_begin` and `on_train_end` for each, and
    the epoch number runs on over the whole run. So `CSVLogger` needs `append=True`, and `ModelCheckpoint(save_best_only=True)`
    compares models of all sizes: take the result, or `run_dir`, for the pruned one. The optimizer keeps its state: slots are
    cut along with their weights. It begins anew before the model learns from the unpruned one, which is another loss, unless
    its rate follows a schedule.

    Args:
        model: a built, compiled Functional or Sequential model; it is not changed.
        x: what `fit` takes: arrays (with `y`), a tuple `(x, y[, sample_weight])`, a `tf.data.Dataset`, a `PyDataset`.
        y: labels, where `x` are input arrays. A model that is compiled without a loss, and trains on what its layers add by
            `add_loss`, needs none.
        target: the budget, for example `kt.Target(macs=0.5)`.
        epochs: fine-tuning epochs in all.
        recipe: how channels are chosen, in how many steps, and how the rest is repaired; `kt.Recipe()` by default;
            `"paper"` is that of Molchanov et al. 2017.
        loss: used instead of the compiled loss.
        optimizer: used instead of the compiled optimizer.
        metrics: used instead of the compiled metrics.
        validation_data: as in `fit`; the report then shows the metrics on it before, after each step, and at the end, and the
            best weights after the last removal stay, by the first metric, by name, that Keras knows the better direction of, or
            by the loss: `report.settings["kept"]` says which.
        validation_steps: as in `fit`.
        validation_batch_size: as in `fit`.
        callbacks: as in `fit`.
        class_weight: as in `fit`; scoring respects it too.
        batch_size: as in `fit`.
        steps_per_epoch: as in `fit`.
        shuffle: as in `fit`.
        run_dir: new folder to which `model.keras`, `plan.json`, `report.json` and `history.json` are written after each stage.
        seed: for the sample and for criteria that draw random numbers.
        verbose: as in `fit`; 0 is silent.

    Returns:
        `result.model`, `.history`, `.plan` (with respect to `model`), `.report`, `.repair`.

    Raises:
        KerasTaylorError: see `kt.score`, `kt.plan` and `kt.rebuild`. What can be known before training is checked before it.

    Example:
        >>> import keras, numpy as np, keras_taylor as kt
        >>> model = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Conv2D(8, 3, activation="relu"),
        ...                           keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(2)])
        >>> model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
        >>> x, y = np.random.default_rng(0).random((64, 8, 8, 1)), np.arange(64) % 2
        >>> result = kt.fit_with_pruning(model, x, y, target=kt.Target(macs=0.5), epochs=2, verbose=0)
        >>> result.model.layers[1].filters, len(result.history.epoch)
        (4, 2)

    References:
        Molchanov et al. 2017, section 2: alternate pruning and fine-tuning.
    """
    check_target(target)
    recipe, data = recipe_for(recipe), joined(x, y)
    epochs = whole_number("epochs", epochs, least=0)
    validation_data = as_data(validation_data)
    if is_infinite(data) and not steps_per_epoch:
        raise infinite(data, "steps_per_epoch=100")
    if is_infinite(validation_data) and not validation_steps:
        raise infinite(validation_data, "validation_steps=10")
    check_schedule(recipe.schedule, epochs)
    graph = as_graph(model)
    _check_training(graph.model)
    check_feasible(graph, target, recipe.constraints)
    each = _each(callbacks)
    _check_callbacks(each)
    step = PruningStep(recipe, None, batch_size or 32, class_weight, seed, verbose)
    fitting = {
        "validation_data": validation_data,
        "validation_steps": validation_steps,
        "validation_batch_size": validation_batch_size,
        "class_weight": class_weight,
        "batch_size": batch_size,
        "steps_per_epoch": steps_per_epoch,
        "shuffle": shuffle,
        "verbose": verbose,
    }
    copy = _compiled_copy(graph.model, loss, optimizer, metrics)
    check_data(copy, data, recipe, trains=trains_on_labels(copy))
    check_validation(copy, validation_data)
    remember_inputs(graph.model, data)
    inherit_inputs(graph.model, copy)
    _check_loss(copy, data)
    if recipe.distill is not None:
        check_distill(recipe.distill, graph, feed(graph.model, peek(data)[0]))
    folder = run_folder(run_dir)
    distill = _teaching(recipe.distill, graph, copy, data, step) if epochs else recipe.distill
    stopwatch = Stopwatch(graph, target, flat_names(graph), verbose=verbose) if target.timed else None
    full = stopwatch.totals if stopwatch else graph.cost.totals()
    goal = target.absolute(full)
    steps = schedule_for(recipe.schedule, epochs, min(goal[name] / full[name] for name in goal))
    settings = {"target": str(target), **recipe.settings(), "seed": seed, "schedule": str(steps), "epochs": epochs}
    settings |= {"augmented": distill is not None and distill.augment is not None} if epochs else {}
    settings |= {"distilled": distill is not None, "learns": learns(distill, trains_on_labels(copy))} if epochs else {}
    run = Run(graph, copy, data, step, epochs, each, fitting, settings, folder, stopwatch, distill)
    run.note("before")
    for number in range(1, steps.steps + 1):
        run.remove(number, steps.steps, steps.budgets(number, full, goal))
        run.note(f"pruned {number}")
        last = number == steps.steps
        run.train(epochs if last else run.epoch + steps.epochs_per_step, last)
        run.note("final" if last else f"trained {number}")
    return PruningResult(run.current, run.plan, run.report, run.history, run.repaired)


def _teaching(distill: Distill | None, graph: ChannelGraph, model: Any, data: Any, step: PruningStep) -> Distill | None:
    """The recipe's distillation, unless it is for the model to say that it has nothing to teach."""
    if distill is None:
        return None
    sample: dict[str, Any] = {"batch_size": step.batch_size, "seed": step.seed}
    if distill.labels == "auto" and trains_on_labels(model) and not has_learnt(graph, model, data, **sample):
        if verbosity(step.verbose):
            print("The model has not learnt its labels yet, and has nothing to teach: what is left of it is trained on them.")
        return None
    if distill.augment != "auto":
        return distill
    moves = not distill.own and is_invariant(graph, data, distill.augmentation(graph.program.inputs, step.seed), **sample)
    return replace(distill, augment="images" if moves else None)


def _check_training(model: Any) -> None:
    """Raise `BadInput` unless the model trains as `keras.Model` does."""
    own = [name for name in _TRAINING if getattr(type(model), name) is not getattr(keras.Model, name)]
    if own:
        raise BadInput(
            f"The model must train as keras.Model does. Received: {type(model).__name__}, which has a {own[0]} of its own; "
            "a rebuilt model is a plain keras.Model. Use kt.prune and your own training loop."
        )


def _check_callbacks(callbacks: Sequence[Any]) -> None:
    """Raise `BadInput` for callbacks that promise what a run of several trainings cannot keep."""
    for one in callbacks:
        if isinstance(one, type):
            raise BadInput(f"callbacks must be objects. Received: the class {one.__name__}. Write {one.__name__}(...).")
        if isinstance(one, keras.callbacks.BackupAndRestore):
            raise BadInput(
                "callbacks must not restore another training: the sizes of the model change, and a run cannot be continued. "
                "Received: a BackupAndRestore. Leave it out; run_dir=... keeps the model after each stage."
            )


def _each(callbacks: Any) -> list[Any]:
    """The callbacks one by one, those inside a `CallbackList` too."""
    found: list[Any] = []
    for one in keras.tree.flatten(callbacks):
        found += one.callbacks if isinstance(one, keras.callbacks.CallbackList) else [one]
    return [one for one in found if one is not None]


def _check_loss(model: Any, data: Any) -> None:
    """Raise `BadInput` unless there is something to minimise: a compiled loss, or what layers add."""
    if trains_on_labels(model):
        return
    run_model(model, feed(model, peek(data)[0]))
    if not model.losses:
        raise BadInput(
            f"The model must have a loss. Received: {model.name!r}, compiled without one, none of whose layers adds one. "
            "Compile it with a loss, or pass loss=."
        )


def _compiled_copy(model: Any, loss: Any, optimizer: Any, metrics: Any) -> Any:
    """A copy of the model, compiled as the model is but for what is given."""
    copy = copy_model(model)
    if loss is None and optimizer is None and metrics is None:
        if model.compiled and not copy.compiled:
            raise BadInput(
                f"The compilation of the model must be reproducible from configs. Received: {model.name!r}, whose optimizer or "
                "metrics are not (see the warning). Give them a full get_config, or pass loss=, optimizer= and metrics=."
            )
        if not copy.compiled:
            raise BadInput(
                f"The model must be compiled. Received: {model.name!r}, which is not. Call model.compile(optimizer, loss), or "
                "pass loss=, optimizer= and metrics=."
            )
        return copy
    config = compile_options(copy) if copy.compiled else {"optimizer": "rmsprop"}
    given = {"loss": loss, "optimizer": optimizer, "metrics": metrics}
    config.update({name: value for name, value in given.items() if value is not None})
    copy.compile(**config)
    return copy
