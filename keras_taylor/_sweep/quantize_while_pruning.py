"""The order in which the network is quantization-aware while it is pruned: remove, train with rounding, remove again."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import keras

from keras_taylor._plan.constraints import Constraints
from keras_taylor._plan.pruning_plan import PruningPlan, totals
from keras_taylor._plan.target import Target
from keras_taylor._quantize.quantize import quantize
from keras_taylor._quantize.tflite_file import TFLiteFile
from keras_taylor._rebuild.rebuild import rebuild
from keras_taylor._run.fit import Run
from keras_taylor._run.schedule import Schedule
from keras_taylor._run.step import PruningStep
from keras_taylor._trace.graph import trace
from keras_taylor.quantizers import Int8QAT


def quantize_while_pruning(
    model: Any,
    data: Any,
    quantizer: Int8QAT,
    target: Target,
    *,
    epochs: int,
    schedule: Schedule,
    removal: PruningStep,
    constraints: Constraints,
) -> tuple[TFLiteFile, PruningPlan]:
    """Prune as `fit_with_pruning` does, with quantization-aware training in the place of fine-tuning.

    Each stretch of `epochs` between two removals starts from the weights of the one before. In these the optimizer and the
    learning rate are the model's; `quantizer.epochs` more, with the quantizer's own, end the run.

    Args:
        model: a compiled model; it is not changed.
        data: labelled training data.
        quantizer: for the last epochs; its data are those of all epochs.
        target: the budget.
        epochs: before the last ones.
        schedule: of the removals.
        removal: how channels are chosen.
        constraints: what the plans must respect.

    Returns:
        The quantized model, and all that was removed from `model`.
    """
    rate = float(keras.ops.convert_to_numpy(model.optimizer.learning_rate))
    recovery = replace(quantizer, optimizer=model.optimizer, learning_rate=rate)
    graph = trace(model)
    full = totals(graph)
    run = _QuantizedRun(model, graph, rebuild(model, PruningPlan({})), data, epochs, None, {}, None)
    run.quantizer = recovery
    for step in range(1, schedule.steps + 1):
        budgets = schedule.budgets(step, full, target.absolute(full))
        run.remove(step, schedule.steps, removal, budgets, constraints)
        run.train(epochs if step == schedule.steps else run.epoch + schedule.epochs_per_step)
    return quantize(run.current, quantizer, verbose=0), run.plan


class _QuantizedRun(Run):
    """A run whose stretches of training simulate 8 bits."""

    quantizer: Int8QAT

    def note(self, name: str) -> None:
        """No report: the sweep measures the file."""

    def train(self, until: int) -> None:
        """Quantization-aware epochs up to `until`."""
        if until > self.epoch:
            # Another order of the data in each stretch.
            stretch = replace(self.quantizer, epochs=until - self.epoch, seed=self.quantizer.seed + self.epoch)
            self.current = quantize(self.current, stretch, verbose=0).model
            self.epoch = until
