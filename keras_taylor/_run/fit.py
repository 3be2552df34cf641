"""`fit_with_pruning`: alternate scoring, removal and fine-tuning until the budget is met, then fine-tune."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_taylor._keras.batches import batches
from keras_taylor._keras.model import compile_options
from keras_taylor._measure.latency_budget import TRIES, Stopwatch
from keras_taylor._output.files import check_writable, write_atomically, write_text
from keras_taylor._plan.constraints import Constraints, check_constraints, count_bound
from keras_taylor._plan.plan import check_rank
from keras_taylor._plan.pruning_plan import PruningPlan, from_mask, to_mask, totals
from keras_taylor._plan.target import Target
from keras_taylor._rebuild.rebuild import flat_names, rebuild
from keras_taylor._repair.repair import Repair
from keras_taylor._run.checks import check_feasible, check_readable, check_repair, check_validation, require_target
from keras_taylor._run.prune import PruningResult
from keras_taylor._run.report import Report, evaluate, settings, stage, timed
from keras_taylor._run.schedule import Schedule, schedule_for
from keras_taylor._run.step import SCORING_EXAMPLES, PruningStep
from keras_taylor._score.score import DEFAULT_CRITERION
from keras_taylor._trace.graph import ChannelGraph, trace
from keras_taylor.criteria import Criterion, criterion_for
from keras_taylor.errors import BadInput

_TRAINING = ("train_step", "test_step", "compute_loss", "compute_metrics")


def fit_with_pruning(
    model: Any,
    data: Any,
    y: Any = None,
    *,
    target: Target | None = None,
    epochs: int = 10,
    schedule: Schedule | None = None,
    criterion: str | Criterion = DEFAULT_CRITERION,
    constraints: Constraints | None = None,
    rank: str = "saving",
    loss: Any = None,
    optimizer: Any = None,
    metrics: Any = None,
    validation_data: Any = None,
    validation_steps: int | None = None,
    validation_batch_size: int | None = None,
    callbacks: Sequence[Any] | None = None,
    class_weight: Mapping[int, float] | None = None,
    repair: str | Sequence[str] | None = None,
    batch_size: int | None = None,
    steps_per_epoch: int | None = None,
    shuffle: bool = True,
    examples: int | None = SCORING_EXAMPLES,
    run_dir: str | Path | None = None,
    seed: int = 0,
    verbose: Any = "auto",
) -> PruningResult:
    """Prune while fine-tuning: score, remove, train; again until the budget is met; then train what is left of `epochs`.

    Each stretch of training between two removals is one `fit`: callbacks see `on_train_begin` and `on_train_end` for each, and
    the epoch number runs on over the whole run. So `CSVLogger` needs `append=True`, and `ModelCheckpoint(save_best_only=True)`
    compares models of all sizes: take the result, or `run_dir`, for the pruned one. The optimizer keeps its state: slots are
    cut along with their weights.

    Args:
        model: a built, compiled Functional or Sequential model; it is not changed.
        data: what `fit` takes: arrays (with `y`, or as a tuple `(x, y[, sample_weight])`), a `tf.data.Dataset`, a `PyDataset`.
        y: labels, when `data` are input arrays.
        target: the budget, for example `kt.Target(macs=0.5)`.
        epochs: fine-tuning epochs in all.
        schedule: the steps to the budget; by default as many steps of one epoch as half of `epochs` allows, at most 5.
        criterion: a name or a `kt.Criterion`.
        constraints: what every plan must respect, in terms of the unpruned model.
        rank: see `kt.plan`.
        loss: used instead of the compiled one, as are
        optimizer: and
        metrics: if given.
        validation_data: as in `fit`; the report then shows the metrics on it before, after each step, and at the end.
        validation_steps: as in `fit`.
        validation_batch_size: as in `fit`.
        callbacks: as in `fit`.
        class_weight: as in `fit`; scoring respects it too.
        repair: a method of `kt.repair`, for example `"lstsq"`, applied after each removal; none by default.
        batch_size: as in `fit`.
        steps_per_epoch: as in `fit`.
        shuffle: as in `fit`.
        examples: score on at most this many examples in each step (drawn at random from arrays).
        run_dir: folder to which `model.keras`, `plan.json`, `report.json` and `history.json` are written after each stage.
        seed: for the sample and for criteria that draw random numbers.
        verbose: as in `fit`; 0 is silent.

    Returns:
        `result.model`, `.history`, `.plan` (with respect to `model`), `.report`.

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
    goal, rules = require_target(target), constraints or Constraints()
    check_rank(rank)
    check_constraints(constraints)
    check_validation(validation_data)
    if not isinstance(epochs, int) or epochs < 0:
        raise BadInput(f"epochs must be a whole number of at least 0. Received: {epochs!r}.")
    if isinstance(data, tf.data.Dataset) and int(data.cardinality()) == tf.data.INFINITE_CARDINALITY and not steps_per_epoch:
        raise BadInput("An infinite data set must go with steps_per_epoch. Received: steps_per_epoch=None.")
    steps = schedule_for(schedule, epochs)
    own = [name for name in _TRAINING if getattr(type(model), name) is not getattr(keras.Model, name)]
    if own:
        raise BadInput(
            f"The model must train as keras.Model does. Received: {type(model).__name__}, which has a {own[0]} of its own; "
            "a rebuilt model is a plain keras.Model. Use kt.prune and your own training loop."
        )
    check_readable(data)
    graph = trace(model)
    check_feasible(graph, goal, rules)
    check_repair(repair, data)
    folder = _run_dir(run_dir)
    train = data if y is None else (data, y)
    next(batches(train, batch_size=1, examples=1))  # no labels or no examples: an error before anything is trained
    removal = PruningStep(
        criterion_for(criterion),
        rank=rank,
        examples=examples,
        batch_size=batch_size or 32,
        class_weight=class_weight,
        repair=repair,
        seed=seed,
        verbose=1 if verbose == "auto" else verbose,
    )
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
    copy = _compiled_copy(model, loss, optimizer, metrics)
    stopwatch = Stopwatch(graph, goal, flat_names(graph), removal.verbose) if goal.timed else None
    run = Run(model, graph, copy, train, epochs, callbacks, fitting, folder, stopwatch)
    run.report.settings.update(settings(removal, goal), schedule=str(steps), epochs=epochs)
    run.note("before")
    full = stopwatch.totals if stopwatch else totals(graph)
    for step in range(1, steps.steps + 1):
        budgets = steps.budgets(step, full, goal.absolute(full))
        run.remove(step, steps.steps, removal, budgets, rules)
        run.train(epochs if step == steps.steps else run.epoch + steps.epochs_per_step)
        run.note("final" if step == steps.steps else f"trained {step}")
    return PruningResult(run.current, run.plan, run.report, run.history, run.repaired)


class Run:
    """The state of one run: the current model, what is left of the original's channels, history and report."""

    def __init__(
        self,
        model: Any,
        graph: ChannelGraph,
        current: Any,
        data: Any,
        epochs: int,
        callbacks: Sequence[Any] | None,
        fitting: dict[str, Any],
        folder: Path | None,
        stopwatch: Stopwatch | None = None,
    ) -> None:
        self.graph = graph
        self.names = flat_names(graph)
        self.current = current
        self.alive = np.ones(graph.channels, bool)
        self.data = data
        self.epochs = epochs
        self.epoch = 0
        self.callbacks = list(callbacks) if isinstance(callbacks, (list, tuple)) else [callbacks] if callbacks else []
        self.fitting = fitting
        self.folder = folder
        self.stopwatch = stopwatch
        self.report = Report()
        self.repaired: Repair | None = None
        self.history = keras.callbacks.History()
        self.history.history = {}
        self.history.epoch = []
        self.history.set_model(current)

    @property
    def plan(self) -> PruningPlan:
        """All that was removed so far, as a plan for the original model."""
        return from_mask(self.graph, self.alive)

    def note(self, name: str) -> None:
        """Add a row to the report, and write the run's files."""
        found = evaluate(
            self.current,
            self.fitting["validation_data"],
            self.fitting["validation_batch_size"] or self.fitting["batch_size"],
            self.fitting["validation_steps"],
        )
        found |= timed(self.stopwatch.pruned if self.stopwatch else None)
        self.report.settings.update(self.stopwatch.settings() if self.stopwatch else {})
        self.report.stages.append(stage(name, self.epoch, trace(self.current), found))
        if self.folder is not None:
            write_atomically(self.folder / "model.keras", self.current.save)
            self.plan.save(self.folder / "plan.json")
            self.report.save(self.folder / "report.json")
            text = json.dumps({"epoch": self.history.epoch, **self.history.history}, indent=1)
            write_text(self.folder / "history.json", text)

    def remove(self, step: int, steps: int, removal: PruningStep, budgets: Mapping[str, float], rules: Constraints) -> None:
        """One removal, in terms of the original's channels. A latency has to be met in the last one only."""
        decided, small, self.repaired = removal.step(
            self.current, self.data, budgets, self._translated(rules), self.stopwatch, TRIES if step == steps else 1
        )
        self._forget(trace(self.current), decided)
        self.current = small
        self.note(f"pruned {step}")
        if removal.verbose:
            left, full = decided.after["macs"], self.plan.before["macs"]
            print(f"Pruning step {step}/{steps}: {left:,} of {full:,} MACs left ({100 * left / full:.1f} %)")

    def train(self, until: int) -> None:
        """Fine-tune up to epoch `until`, or until a callback stops the training."""
        if until <= self.epoch:
            return
        x, y, weight = self.data, None, None
        if isinstance(x, (tuple, list)):
            x, y, weight = keras.utils.unpack_x_y_sample_weight(tuple(x))
        arguments = dict(self.fitting)
        if isinstance(x, tf.data.Dataset) and arguments["steps_per_epoch"]:
            x = x.skip(self.epoch * arguments["steps_per_epoch"])  # go on where the stretch before ended
        if y is None:
            arguments.pop("batch_size")
            arguments.pop("shuffle")
        history = self.current.fit(
            x,
            y,
            sample_weight=weight,
            initial_epoch=self.epoch,
            epochs=self.epochs,
            callbacks=[*self.callbacks, _StopAfter(until)],
            **arguments,
        )
        self.epoch += len(history.epoch)
        self.history.epoch.extend(history.epoch)
        for name, values in history.history.items():
            self.history.history.setdefault(name, []).extend(values)
        self.history.set_model(self.current)

    def _translated(self, rules: Constraints) -> Constraints:
        """The constraints with names and fractions in terms of the current, already smaller model."""
        widths = {name: len(ids) for ids, name in self.graph.births}
        keep = [self.names[name] for name in rules.kept_layers(list(widths))]
        bounds = {self.names[name]: tuple(count_bound(b, widths[name]) for b in bound) for name, bound in rules.bounds.items()}
        return replace(rules, keep=keep, bounds=bounds)  # type: ignore[arg-type]

    def _forget(self, graph: ChannelGraph, decided: PruningPlan) -> None:
        """Carry the channels that `decided` removes from the current model over to the original's."""
        left = graph.keep_labels(to_mask(graph, decided))
        now = {name: left[ids] for ids, name in graph.births}
        before = self.alive.copy()
        for ids, name in self.graph.births:
            channels = self.graph.channel[ids]
            if (self.graph.locks[channels] != "").all():
                continue  # nothing of it went
            self.alive[channels[before[channels]][~now[self.names[name]]]] = False


class _StopAfter(keras.callbacks.Callback):
    """Ends a `fit` before its last epoch, so that "Epoch 3/10" is right in every stretch."""

    def __init__(self, until: int) -> None:
        super().__init__()
        self.until = until

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Stop when the stretch is over."""
        if epoch + 1 >= self.until:
            self.model.stop_training = True


def _compiled_copy(model: Any, loss: Any, optimizer: Any, metrics: Any) -> Any:
    """A copy of the model, compiled as the model is but for what is given."""
    copy = rebuild(model, PruningPlan({}))
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


def _run_dir(run_dir: str | Path | None) -> Path | None:
    if run_dir is None:
        return None
    folder = Path(run_dir)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput(f"run_dir must be a folder that can be made. Received: {str(run_dir)!r} ({error}).") from None
    check_writable(folder / "report.json")
    return folder
