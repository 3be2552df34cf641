"""Quantization-aware training: ranges from data, then epochs of training with rounded weights and activations."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_taylor._keras.batches import batches, count_batches
from keras_taylor._keras.example_inputs import example_inputs
from keras_taylor._keras.inputs import read_inputs
from keras_taylor._keras.losses import Objective
from keras_taylor._keras.model import feed, pack_outputs
from keras_taylor._keras.program import functional
from keras_taylor._rebuild.rebuild import copy_model
from keras_taylor._rebuild.verify import relative_error, run
from keras_taylor._trace.graph import ChannelGraph, trace
from keras_taylor._trace.input_range import warn_of_range
from keras_taylor.errors import BadInput, ExportMismatch
from keras_taylor.quantizers._checks import check_finite
from keras_taylor.quantizers._tf_keras_bridge import Bridge, libraries

_CALIBRATION = 256
"""Examples from which the ranges of activations start; training moves them on slowly."""


@dataclass(frozen=True, eq=False)
class Training:
    """How to train; see `kt.Int8QAT`.

    Attributes:
        data: labelled data as `fit` takes them.
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
    objective: Objective
    optimizer: str | Mapping[str, Any]
    learning_rate: float
    epochs: int
    steps_per_epoch: int | None
    batch_size: int
    seed: int
    verbose: int


def train(graph: ChannelGraph, training: Training) -> tuple[Any, Any]:
    """Train a copy of the model with 8-bit arithmetic simulated.

    Args:
        graph: the traced Keras 3 model, which is not changed.
        training: how to train.

    Returns:
        The tf_keras model that simulates 8-bit arithmetic, and a Keras 3 copy of the model with the trained weights.

    Raises:
        UnsupportedModel: an operation has weights and no tf_keras form.
        ExportMismatch: the tf_keras model computes something else than the Keras 3 model.
        MissingPackage: TFMOT or tf_keras is not installed.
    """
    libraries()  # an error before any work
    copy = trace(copy_model(graph))
    plain, bridge = Bridge(copy), Bridge(copy, quantized=True)
    inputs = example_inputs(copy.program, seed=0)
    error = relative_error(run(copy.model, inputs), outputs(plain.model, inputs))
    if not error <= 1e-5:
        raise ExportMismatch(
            f"The tf_keras form of {graph.name!r} must compute what the model computes. Received: a relative error of "
            f"{error:.1e} (tolerance 1e-05). A `tf_keras_form` method of a layer rule is wrong, or the model gives NaN."
        )
    size = training.batch_size
    found = read_inputs(graph.model, copy.program, training.data, size, _CALIBRATION, training.seed)
    warn_of_range(copy.program, [x[:size] for x in found])
    _set_ranges(plain, bridge, found, size)
    _fit(bridge, functional(graph.model), training)
    bridge.refresh()
    check_finite((variable.name, variable) for variable in bridge.model.weights)
    bridge.write_back()
    return bridge.model, copy.model


def _set_ranges(plain: Bridge, bridge: Bridge, inputs: list[Any], size: int) -> None:
    """Start from the mean over batches of the least and the greatest value, zero included."""
    names = list(bridge.ranges)
    watched = libraries().tf_keras.Model(plain.model.inputs, [plain.rounded[name] for name in names])

    @tf.function(autograph=False)
    def extremes(batch: list[Any]) -> Any:
        values = [tf.cast(value, tf.float32) for value in tf.nest.flatten(watched(batch, training=False))]
        return tf.stack([[tf.reduce_min(value), tf.reduce_max(value)] for value in values])

    parts = [extremes([x[i : i + size] for x in inputs]) for i in range(0, len(inputs[0]), size)]
    for name, (low, high) in zip(names, np.mean(parts, axis=0), strict=True):
        least, greatest = bridge.ranges[name]
        least.assign(min(low, 0.0))
        greatest.assign(max(high, 0.0))


def _fit(bridge: Bridge, source: Any, training: Training) -> None:
    optimizer = make_optimizer(training.optimizer, training.learning_rate)
    optimizer.build(bridge.trainable)

    @tf.function(autograph=False, reduce_retracing=True)
    def step(flat: list[Any], x: Any, y: Any, weight: Any) -> Any:
        with tf.GradientTape() as tape:
            outputs = bridge.model(flat, training=True)
            predicted = pack_outputs(source, tf.nest.flatten(outputs))
            loss = training.objective(x, y, predicted, weight) / tf.cast(tf.shape(flat[0])[0], tf.float32)
        gradients = tape.gradient(loss, bridge.trainable)
        optimizer.apply_gradients((g, v) for g, v in zip(gradients, bridge.trainable, strict=True) if g is not None)
        return loss

    total = training.steps_per_epoch or count_batches(training.data, batch_size=training.batch_size, examples=None)
    for epoch in range(training.epochs):
        if training.verbose:
            print(f"Quantization-aware epoch {epoch + 1}/{training.epochs}")
        bar = keras.utils.Progbar(total, verbose=training.verbose)
        done = 0
        for x, y, weight in _epoch(training, epoch):
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
        bar.update(done, finalize=True)


def _epoch(training: Training, epoch: int) -> Iterator[Any]:
    """The batches of an epoch as tensors; arrays are shuffled anew."""
    data = training.data
    if isinstance(data, (tuple, list)):
        length = len(keras.tree.flatten(data)[0])
        order = np.random.default_rng((training.seed, epoch)).permutation(length)
        data = keras.tree.map_structure(lambda a: None if a is None else np.asarray(a)[order], tuple(data))
    elif isinstance(data, tf.data.Dataset) and training.steps_per_epoch is not None:
        # As in `fit`: an epoch goes on where the one before has stopped.
        data = data.repeat().skip(epoch * training.steps_per_epoch).take(training.steps_per_epoch)
    for batch in batches(data, batch_size=training.batch_size):
        yield keras.tree.map_structure(lambda a: None if a is None else tf.convert_to_tensor(a), batch)


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


def serving(model: Any, specs: list[Any]) -> Any:
    """The tf_keras model in inference as a concrete function of its inputs."""

    @tf.function(input_signature=specs, autograph=False)
    def serve(*inputs: Any) -> Any:
        return tuple(tf.nest.flatten(model(list(inputs), training=False)))

    return serve.get_concrete_function()
