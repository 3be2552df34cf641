"""A run: the state of a model that is pruned and trained in turns."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_taylor._keras.batches import is_arrays
from keras_taylor._keras.compilation import restart_optimizer
from keras_taylor._keras.progress import verbosity
from keras_taylor._measure.latency_budget import TRIES, Stopwatch
from keras_taylor._output.files import as_path, write_atomically, write_text
from keras_taylor._output.run_dir import writable_folder
from keras_taylor._plan.constraints import Constraints
from keras_taylor._plan.pruning_plan import PruningPlan, from_mask, to_mask
from keras_taylor._rebuild.rebuild import flat_names
from keras_taylor._repair.attempts import Repair
from keras_taylor._run.distill import Distill, distilled
from keras_taylor._run.gentle_rate import gentle_rate
from keras_taylor._run.keep_best import KeepBest
from keras_taylor._run.report import Report, evaluate, timed
from keras_taylor._run.step import PruningStep
from keras_taylor._trace.graph import ChannelGraph, trace
from keras_taylor.errors import BadInput

MODEL, PLAN, REPORT, HISTORY = FILES = ("model.keras", "plan.json", "report.json", "history.json")
"""What a run leaves in its folder."""


class Run:
    """The current model, what is left of the original's channels, history and report.

    Args:
        graph: of the original.
        current: a compiled copy of it: the model to start with.
        data: training data.
        step: how one removal is made.
        epochs: in all.
        callbacks: as in `fit`.
        fitting: other arguments of `fit`.
        settings: for the report.
        folder: where the run's files go, if anywhere.
        stopwatch: times files, where a latency is among the budgets.
        distill: how the small models learn from the original; None: not at all.
    """

    def __init__(
        self,
        graph: ChannelGraph,
        current: Any,
        data: Any,
        step: PruningStep,
        epochs: int,
        callbacks: Sequence[Any] = (),
        fitting: Mapping[str, Any] | None = None,
        settings: Mapping[str, Any] | None = None,
        folder: Path | None = None,
        stopwatch: Stopwatch | None = None,
        distill: Distill | None = None,
    ) -> None:
        self.graph = graph
        self.names = flat_names(graph)
        self.current = current
        self.alive = np.ones(graph.channels, bool)
        self.data = data
        self.step = step
        self.epochs = epochs
        self.epoch = 0
        self.callbacks = list(callbacks)
        self.fitting = dict(fitting or {})
        self.folder = folder
        self.stopwatch = stopwatch
        self.distill = distill
        self.report = Report(settings or {})
        self.repaired: Repair | None = None
        self.history = keras.callbacks.History()
        self.history.history = {}
        self.history.epoch = []
        self.history.set_model(current)
        self._start = time.perf_counter()
        self._graph: ChannelGraph | None = None
        self._taught = False

    @property
    def plan(self) -> PruningPlan:
        """All that was removed so far, as a plan for the original model."""
        return from_mask(self.graph, self.alive)

    @property
    def current_graph(self) -> ChannelGraph:
        """The graph of the current model, traced once for each model."""
        if self._graph is None or self._graph.model is not self.current:
            self._graph = trace(self.current)
        return self._graph

    def note(self, name: str) -> None:
        """Add a row to the report, and write the run's files."""
        found = evaluate(
            self.current,
            self.fitting["validation_data"],
            self.fitting["validation_batch_size"] or self.fitting["batch_size"],
            self.fitting["validation_steps"],
        )
        found |= timed(self.stopwatch.pruned if self.stopwatch else None)
        self.report = self.report.with_settings(self.stopwatch.settings() if self.stopwatch else {}).with_stage(
            name, self.current_graph, found, seconds=time.perf_counter() - self._start, epochs=self.epoch
        )
        if self.folder is not None:
            write_atomically(self.folder / MODEL, self.current.save)
            self.plan.save(self.folder / PLAN)
            self.report.save(self.folder / REPORT)
            text = json.dumps({"epoch": self.history.epoch, **self.history.history}, indent=1)
            write_text(self.folder / HISTORY, text)

    def remove(self, number: int, steps: int, budgets: Mapping[str, float]) -> None:
        """Removal `number` of `steps`. A latency has to be met in the last one only."""
        graph, constraints = self.current_graph, self._translated(self.step.recipe.constraints)
        last = number == steps
        # What follows does better what "tune" would do: another removal with its repair, or training on the same distance.
        trained = self.step.recipe.repair == "auto" and self.distill is not None and self.epoch < self.epochs
        step = self.step.quick() if not last or trained else self.step
        removed = step.remove(graph, self.data, budgets, constraints, self.stopwatch, TRIES if last else 1)
        self._forget(graph, removed.plan)
        self.current, self.repaired = removed.model, removed.repair
        if verbosity(self.step.verbose):
            left, full = removed.plan.after["macs"], self.graph.macs
            print(f"Pruning step {number}/{steps}: {left:,} of {full:,} MACs left ({100 * left / full:.1f} %)")

    def train(self, until: int, last: bool) -> None:
        """Fine-tune up to epoch `until`, or until a callback stops the training; the best weights of the last stretch stay."""
        if until <= self.epoch:
            return
        x, y, weight = self.data, None, None
        if isinstance(x, (tuple, list)):
            x, y, weight = keras.utils.unpack_x_y_sample_weight(tuple(x))
        arguments = dict(self.fitting)
        if isinstance(x, tf.data.Dataset) and arguments["steps_per_epoch"]:
            # Go on where the stretch before ended; data that ended begin again.
            x = x.repeat().skip(self.epoch * arguments["steps_per_epoch"])
        if not is_arrays(x):
            arguments.pop("batch_size")
            arguments.pop("shuffle")
        start = self.report.stages[-1].metrics
        keep = KeepBest(start) if last and self.step.recipe.keep_best and "loss" in start else None
        with self._distilled():
            history = self.current.fit(
                x,
                y,
                sample_weight=weight,
                initial_epoch=self.epoch,
                epochs=self.epochs,
                callbacks=[*self._gentle(), *self.callbacks, *([keep] if keep else ()), _StopAfter(until)],
                **arguments,
            )
        self.report = self.report.with_settings({"kept": keep.kept} if keep else {})
        self.epoch += len(history.epoch)
        self.history.epoch.extend(history.epoch)
        for name, values in history.history.items():
            self.history.history.setdefault(name, []).extend(values)
        self.history.set_model(self.current)

    def _distilled(self) -> AbstractContextManager[None]:
        """Training on what the unpruned model computes, if that is wanted, and anything was removed."""
        if self.distill is None or self.alive.all():
            return nullcontext()
        if not self._taught:
            restart_optimizer(self.current)
            self._taught = True
        keep = self.graph.keep_labels(self.alive)
        repaired = bool(self.repaired and self.repaired.methods)
        return distilled(self.graph, keep, self.current_graph, self.distill, repaired, self.step.seed + self.epoch)

    def _gentle(self) -> list[keras.callbacks.Callback]:
        """The callback that scales the learning rate, if that is wanted; labels ask for less where little is damaged."""
        if not self.step.recipe.gentle:
            return []
        counted = self.distill is None or self.distill.own > 0
        return gentle_rate(self.current, self.callbacks, self.epochs, self.repaired if counted else None)

    def _translated(self, constraints: Constraints) -> Constraints:
        """The constraints with names and fractions in terms of the current, already smaller model."""
        widths = {name: len(ids) for ids, name in self.graph.births}
        keep = [self.names[name] for name in constraints.kept_layers(list(widths))]
        bounds = {self.names[name]: constraints.bounds_of(name, widths[name]) for name in constraints.bounds}
        return replace(constraints, keep=keep, bounds=bounds)

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


def run_folder(run_dir: str | Path | None) -> Path | None:
    """The folder of a run, made where it is missing; None for None.

    Raises:
        BadInput: it cannot be made or written to, or holds another run.
    """
    if run_dir is None:
        return None
    root = as_path(run_dir, "run_dir")
    there = [name for name in FILES if (root / name).exists()]
    if there:
        raise BadInput(
            f"run_dir must be a folder without another run: a run cannot be continued, and its files are not written over. "
            f"Received: {str(run_dir)!r}, which holds {', '.join(there)}. Choose another folder, or remove these files."
        )
    return writable_folder(run_dir, (".",))
