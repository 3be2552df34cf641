"""The order in which the network is quantization-aware while it is pruned: remove, train with rounding, remove again."""

from __future__ import annotations

from typing import Any

import keras

from keras_taylor._plan.pruning_plan import PruningPlan
from keras_taylor._plan.target import Target
from keras_taylor._quantize.quantize import quantize
from keras_taylor._quantize.tflite_file import TFLiteFile
from keras_taylor._rebuild.rebuild import copy_model
from keras_taylor._run.run import Run
from keras_taylor._run.schedule import Schedule
from keras_taylor._run.step import PruningStep
from keras_taylor._trace.graph import ChannelGraph
from keras_taylor.quantizers import Quantizer


def quantize_while_pruning(
    graph: ChannelGraph,
    data: Any,
    quantizer: Quantizer,
    target: Target,
    *,
    epochs: int,
    schedule: Schedule,
    step: PruningStep,
) -> tuple[TFLiteFile, PruningPlan]:
    """Prune as `fit_with_pruning` does, with quantization-aware training in the place of fine-tuning.

    Each stretch of `epochs` between two removals starts from the weights of the one before. In these the optimizer and the
    learning rate are the model's; `quantizer.epochs` more, with the quantizer's own, end the run.

    Args:
        graph: of a compiled model; it is not changed.
        data: labelled training data.
        quantizer: for the last epochs; its data are those of all epochs.
        target: the budget.
        epochs: before the last ones.
        schedule: of the removals.
        step: how one removal is made.

    Returns:
        The quantized model, and all that was removed from the original.
    """
    optimizer, full = graph.model.optimizer, graph.cost.totals()
    rate = float(keras.ops.convert_to_numpy(optimizer.learning_rate))
    run = Run(graph, copy_model(graph), data, step, epochs)
    for number in range(1, schedule.steps + 1):
        run.remove(number, schedule.steps, schedule.budgets(number, full, target.absolute(full)))
        until = epochs if number == schedule.steps else run.epoch + schedule.epochs_per_step
        if until > run.epoch:
            # Another order of the data in each stretch.
            recovery = quantizer.with_training(
                optimizer=optimizer, learning_rate=rate, epochs=until - run.epoch, seed=step.seed + run.epoch
            )
            run.current, run.epoch = quantize(run.current, recovery, verbose=0).model, until
    return quantize(run.current, quantizer, verbose=0), run.plan
