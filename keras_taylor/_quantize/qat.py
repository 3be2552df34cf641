"""Quantization-aware training: ranges from data, then epochs of training with rounded weights and activations."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_taylor._keras.batches import batches, count_batches
from keras_taylor._keras.inputs import read_inputs
from keras_taylor._keras.losses import Objective
from keras_taylor._keras.model import feed, pack_outputs
from keras_taylor._keras.program import functional
from keras_taylor._plan.pruning_plan import PruningPlan
from keras_taylor._quantize.quantizers import Int8QAT
from keras_taylor._quantize.tf_keras_bridge import Bridge, libraries
from keras_taylor._rebuild.rebuild import rebuild
from keras_taylor._rebuild.verify import example_inputs, relative_error, run
from keras_taylor._trace.graph import trace
from keras_taylor._trace.input_range import warn_of_range
from keras_taylor.errors import BadInput, ExportMismatch

_CALIBRATION = 256
"""Examples from which the ranges of activations start; training moves them on slowly."""


def train(model: Any, quantizer: Int8QAT, objective: Objective) -> tuple[Any, Any]:
    """Train a copy of the model with 8-bit arithmetic simulated.

    Args:
        model: a Keras 3 model; it is not changed.
        quantizer: data, epochs and the like.
        objective: the loss, summed over the examples of a batch.

    Returns:
        The tf_keras model that simulates 8-bit arithmetic, and a Keras 3 copy of the model with the trained weights.

    Raises:
        UnsupportedModel: an operation has weights and no legacy form.
        ExportMismatch: the tf_keras model computes something else than the Keras 3 model.
    """
    copy = rebuild(model, PruningPlan({}))
    graph = trace(copy)
    plain, bridge = Bridge(graph), Bridge(graph, quantized=True)
    inputs = example_inputs(graph.program, seed=0)
    error = relative_error(run(copy, inputs), outputs(plain.model, inputs))
    if not error <= 1e-5:
        raise ExportMismatch(
            f"The tf_keras form of {model.name!r} must compute what the model computes. Received: a relative error of "
            f"{error:.1e} (tolerance 1e-05). A `legacy` method of a layer rule is wrong, or the model gives NaN."
        )
    found = read_inputs(model, graph.program, quantizer.data, quantizer.batch_size, _CALIBRATION, quantizer.seed)
    first = [x[: quantizer.batch_size] for x in found]
    warn_of_range(graph.program, first)
    _set_ranges(plain, bridge, found, quantizer.batch_size)
    _fit(bridge, functional(model), quantizer, objective)
    bridge.refresh()
    check_finite((variable.name, variable) for variable in bridge.model.weights)
    bridge.write_back()
    return bridge.model, copy


def check_finite(weights: Iterable[tuple[str, Any]]) -> None:
    """Raise `BadInput` for NaN or infinity: LiteRT crashes on scales that are made of them."""
    for name, weight in weights:
        if not np.isfinite(np.asarray(weight, np.float32)).all():
            raise BadInput(
                f"Weights to quantize must be finite. Received: NaN or infinity in {name!r}. Lower the learning rate."
            )


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


def _fit(bridge: Bridge, source: Any, quantizer: Int8QAT, objective: Objective) -> None:
    optimizer = _optimizer(quantizer)
    optimizer.build(bridge.trainable)

    @tf.function(autograph=False, reduce_retracing=True)
    def step(flat: list[Any], x: Any, y: Any, weight: Any) -> Any:
        with tf.GradientTape() as tape:
            outputs = bridge.model(flat, training=True)
            predicted = pack_outputs(source, tf.nest.flatten(outputs))
            loss = objective(x, y, predicted, weight) / tf.cast(tf.shape(flat[0])[0], tf.float32)
        gradients = tape.gradient(loss, bridge.trainable)
        optimizer.apply_gradients((g, v) for g, v in zip(gradients, bridge.trainable, strict=True) if g is not None)
        return loss

    total = quantizer.steps_per_epoch or count_batches(quantizer.data, batch_size=quantizer.batch_size, examples=None)
    for epoch in range(quantizer.epochs):
        if quantizer.verbose:
            print(f"Quantization-aware epoch {epoch + 1}/{quantizer.epochs}")
        bar = keras.utils.Progbar(total, verbose=1 if quantizer.verbose == "auto" else quantizer.verbose)
        done = 0
        for x, y, weight in _epoch(quantizer, epoch):
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


def _epoch(quantizer: Int8QAT, epoch: int) -> Iterator[Any]:
    """The batches of an epoch as tensors; arrays are shuffled anew."""
    data = quantizer.data
    if isinstance(data, (tuple, list)):
        length = len(keras.tree.flatten(data)[0])
        order = np.random.default_rng((quantizer.seed, epoch)).permutation(length)
        data = keras.tree.map_structure(lambda a: None if a is None else np.asarray(a)[order], tuple(data))
    elif isinstance(data, tf.data.Dataset) and quantizer.steps_per_epoch is not None:
        # As in `fit`: an epoch goes on where the one before has stopped.
        data = data.repeat().skip(epoch * quantizer.steps_per_epoch).take(quantizer.steps_per_epoch)
    for batch in batches(data, batch_size=quantizer.batch_size):
        yield keras.tree.map_structure(lambda a: None if a is None else tf.convert_to_tensor(a), batch)


def _optimizer(quantizer: Int8QAT) -> Any:
    """The optimizer of tf_keras that has the name and, where there are any, the options of the Keras 3 one."""
    given = quantizer.optimizer
    name, options = (given, {}) if isinstance(given, str) else (given["class_name"], given["config"])
    known = {kind.lower(): getattr(libraries().tf_keras.optimizers, kind) for kind in dir(libraries().tf_keras.optimizers)}
    kind = known.get(str(name).lower())
    if not isinstance(kind, type):
        raise BadInput(f"Int8QAT(optimizer=) must be an optimizer that tf_keras has. Received: {name!r}. Try 'adam' or 'sgd'.")
    taken = inspect.signature(kind).parameters.keys() - {"name", "learning_rate"}
    return kind(learning_rate=quantizer.learning_rate, **{key: options[key] for key in taken & options.keys()})


def outputs(model: Any, inputs: list[Any]) -> list[Any]:
    """What a tf_keras model gives in inference, as flat arrays."""
    return [np.asarray(value) for value in tf.nest.flatten(model(inputs, training=False))]


def serving(model: Any, specs: list[Any]) -> Any:
    """The tf_keras model in inference as a concrete function of its inputs."""

    @tf.function(input_signature=specs, autograph=False)
    def serve(*inputs: Any) -> Any:
        return tuple(tf.nest.flatten(model(list(inputs), training=False)))

    return serve.get_concrete_function()
