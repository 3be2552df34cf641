"""Quantization-aware training: epochs with rounded weights and activations, of which the best is kept."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_taylor._keras.example_inputs import example_inputs
from keras_taylor._keras.losses import Objective
from keras_taylor._keras.model import feed, pack_outputs
from keras_taylor._keras.program import functional
from keras_taylor._rebuild.rebuild import copy_model
from keras_taylor._rebuild.verify import relative_error, run
from keras_taylor._trace.graph import ChannelGraph, trace
from keras_taylor.errors import BadInput, ExportMismatch
from keras_taylor.quantizers._checks import check_finite
from keras_taylor.quantizers._held_back import HeldBack
from keras_taylor.quantizers._tf_keras_bridge import Bridge, libraries


@dataclass(frozen=True, eq=False)
class Training:
    """How to train; see `kt.Int8QAT`.

    Attributes:
        data: labelled data as `fit` takes them.
        calibration: examples whose ranges the file will have, one array per input.
        objective: the loss, summed over the examples of a batch.
        optimizer: a name, or the serialized form of a Keras 3 optimizer.
        learning_rate: of the optimizer.
        epochs: passes over the data.
        steps_per_epoch: batches of an epoch; None is all of them.
        batch_size: for arrays.
        seed: for the order of the data.
        verbose: 0, 1 or 2, as in `fit`.
    """

    data: Any
    calibration: list[Any]
    objective: Objective
    optimizer: str | Mapping[str, Any]
    learning_rate: float
    epochs: int
    steps_per_epoch: int | None
    batch_size: int
    seed: int
    verbose: int


@dataclass(frozen=True)
class Choice:
    """Which weights were kept, and by what.

    Attributes:
        epoch: after which they were kept; 0 are those that training started from.
        losses: of the examples that were held back, before training and after each epoch, with 8-bit arithmetic simulated.
        examples: how many were held back.
        reshuffled: whether training has seen them, too, since the data come in another order at each reading.
    """

    epoch: int
    losses: tuple[float, ...]
    examples: int
    reshuffled: bool = False

    def __str__(self) -> str:
        if len(self.losses) < 2:
            return "calibrated, not trained"
        start, best = self.losses[0], self.losses[self.epoch]
        if self.epoch == 0:
            best = min(self.losses[1:])
            kept, compared = "those before training", f"held-back loss {start:.4g}, after training {best:.4g} at best"
        else:
            kept = f"of epoch {self.epoch} of {len(self.losses) - 1}"
            compared = f"held-back loss {best:.4g}, calibrated alone {start:.4g}"
        seen = ", trained on too: the data are shuffled anew at each reading" if self.reshuffled else ""
        return f"{kept}: {compared} ({self.examples} examples{seen})"


def train(graph: ChannelGraph, training: Training) -> tuple[Any, Choice]:
    """Train a copy of the model with 8-bit arithmetic simulated.

    The simulation rounds as a file of the present weights does that is calibrated on `training.calibration`. So what it says
    of held-back examples before training is what calibration alone gives, and the best of all epochs is no worse.

    Args:
        graph: the traced Keras 3 model, which is not changed.
        training: how to train.

    Returns:
        A Keras 3 copy of the model with the weights that were kept, and why these.

    Raises:
        UnsupportedModel: an operation has weights and no tf_keras form.
        ExportMismatch: the tf_keras model computes something else than the Keras 3 model.
        MissingPackage: TFMOT or tf_keras is not installed.
    """
    copy = trace(copy_model(graph))
    plain, bridge = Bridge(copy), Bridge(copy, quantized=True)
    inputs = example_inputs(copy.program, seed=0)
    error = relative_error(run(copy.model, inputs), outputs(plain.model, inputs))
    if not error <= 1e-5:
        raise ExportMismatch(
            f"The tf_keras form of {graph.name!r} must compute what the model computes. Received: a relative error of "
            f"{error:.1e} (tolerance 1e-05). A `tf_keras_form` method of a layer rule is wrong, or the model gives NaN."
        )
    if not training.epochs:
        return copy.model, Choice(0, (), 0)
    return copy.model, _fit(plain, bridge, functional(graph.model), training)


def _fit(plain: Bridge, bridge: Bridge, source: Any, training: Training) -> Choice:
    """Train, and write the weights of the best epoch back to the Keras 3 model."""
    optimizer = make_optimizer(training.optimizer, training.learning_rate)
    optimizer.build(bridge.trainable)
    data = HeldBack(training.data, training.batch_size, training.steps_per_epoch, training.seed)

    def loss_of(flat: list[Any], x: Any, y: Any, weight: Any, training_now: bool) -> Any:
        found = tf.nest.flatten(bridge.model(flat, training=training_now))
        return training.objective(x, y, pack_outputs(source, found), weight)

    @tf.function(autograph=False, reduce_retracing=True)
    def step(flat: list[Any], x: Any, y: Any, weight: Any) -> Any:
        with tf.GradientTape() as tape:
            loss = loss_of(flat, x, y, weight, True) / tf.cast(tf.shape(flat[0])[0], tf.float32)
        gradients = tape.gradient(loss, bridge.trainable)
        optimizer.apply_gradients((g, v) for g, v in zip(gradients, bridge.trainable, strict=True) if g is not None)
        return loss

    @tf.function(autograph=False, reduce_retracing=True)
    def judged(flat: list[Any], x: Any, y: Any, weight: Any) -> Any:
        return loss_of(flat, x, y, weight, False)

    before = settle(plain, bridge, training.calibration, training.batch_size)

    def held_back_loss() -> float:
        silent = settle(plain, bridge, training.calibration, training.batch_size)
        if silent - before:  # training has silenced a whole layer: LiteRT ends the process on a scale of nothing
            return np.inf
        tensors = keras.tree.map_structure(lambda a: None if a is None else tf.convert_to_tensor(a), data.batches)
        return _mean(float(sum(judged(feed(source, x), x, y, weight) for x, y, weight in tensors)), data.examples)

    losses, total, best, kept = [held_back_loss()], data.steps, 0, bridge.weights()
    for epoch in range(training.epochs):
        if training.verbose:
            print(f"Quantization-aware epoch {epoch + 1}/{training.epochs}")
        bar = keras.utils.Progbar(total, verbose=training.verbose, stateful_metrics=["held_back_loss"])
        done = 0
        for x, y, weight in data.epoch(epoch):
            loss = float(step(feed(source, x), x, y, weight))
            done += 1
            if not np.isfinite(loss):
                raise BadInput(
                    f"The loss must stay finite. Received: {loss} in step {done} of epoch {epoch + 1}. Lower learning_rate."
                )
            bar.update(done, [("loss", loss)], finalize=False)
            if done == total:
                break
        total = done
        check_finite((variable.name, variable) for variable in bridge.model.weights)
        losses.append(held_back_loss())
        bar.update(done, [("held_back_loss", losses[-1])], finalize=True)
        if losses[-1] < losses[best]:
            best, kept = epoch + 1, bridge.weights()
    bridge.restore(kept)
    bridge.write_back()
    choice = Choice(best, tuple(losses), data.examples, data.reshuffled)
    if training.verbose:
        print(f"Weights kept: {choice}")
    return choice


def _mean(total: float, examples: int) -> float:
    """The loss of an example; one that is not finite is worse than any other."""
    return total / examples if np.isfinite(total) else np.inf


def settle(plain: Bridge, bridge: Bridge, inputs: list[Any], size: int) -> frozenset[str]:
    """Take the ranges of a file of the present weights: the least and the greatest value on the calibration data, or zero.

    Args:
        plain: computes without rounding.
        bridge: computes with it; its weights are copied to the Keras 3 model and to `plain`.
        inputs: the calibration data, one array per input.
        size: examples in a batch.

    Returns:
        The rounded tensors that are zero on all of the data.
    """
    bridge.write_back()
    plain.read()
    bridge.refresh()
    names = list(bridge.ranges)
    parts = [plain.extremes(names, [x[i : i + size] for x in inputs]) for i in range(0, len(inputs[0]), size)]
    lows, highs = zip(*parts, strict=True)
    silent = set()
    for name, low, high in zip(names, np.min(lows, axis=0), np.max(highs, axis=0), strict=True):
        least, greatest = bridge.ranges[name]
        least.assign(min(low, 0.0))
        greatest.assign(max(high, 0.0))
        if low == high == 0:
            silent.add(name)
    return frozenset(silent)


def make_optimizer(given: str | Mapping[str, Any], learning_rate: float) -> Any:
    """The optimizer of tf_keras that has the name and, where there are any, the options of the Keras 3 one."""
    name, options = (given, {}) if isinstance(given, str) else (given["class_name"], given["config"])
    known = {kind.lower(): getattr(libraries().tf_keras.optimizers, kind) for kind in dir(libraries().tf_keras.optimizers)}
    kind = known.get(str(name).lower())
    if not isinstance(kind, type):
        raise BadInput(f"Int8QAT(optimizer=) must be an optimizer that tf_keras has. Received: {name!r}. Try 'adam' or 'sgd'.")
    taken = inspect.signature(kind).parameters.keys() - {"name", "learning_rate"}
    return kind(learning_rate=learning_rate, **{key: options[key] for key in taken & options.keys()})


def outputs(model: Any, inputs: list[Any]) -> list[Any]:
    """What a tf_keras model gives in inference, as flat arrays."""
    return [np.asarray(value) for value in tf.nest.flatten(model(inputs, training=False))]
