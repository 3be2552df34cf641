"""The losses that scores come from, and one for data without labels: targets drawn from what the model itself predicts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf

from keras_taylor._loss import Objective, loss_of_each, summed_loss

LIKELIHOODS = frozenset({"softmax", "logits", "sigmoid", "binary logits"})
"""Kinds of outputs that are probabilities."""


@dataclass(frozen=True)
class Objectives:
    """The losses of one model.

    Attributes:
        summed: over the examples of a batch.
        of_each: of every example.
        sampled: summed, with labels that the model draws.
        kinds: of the model's outputs, as `output_kinds` tells.
    """

    summed: Objective
    of_each: Objective
    sampled: Objective
    kinds: list[str]


def objectives(model: Any, loss: Any = None, seed: int = 0, *, labels: bool = True) -> Objectives:
    """All losses of a model; without labels, the first two are those of labels that the model draws, summed."""
    sampled, kinds = sampled_loss(model, loss, seed), output_kinds(model, loss)
    if not labels:
        return Objectives(sampled, sampled, sampled, kinds)
    return Objectives(summed_loss(model, loss), loss_of_each(model, loss), sampled, kinds)


def sampled_loss(model: Any, loss: Any = None, seed: int = 0) -> Objective:
    """`objective(x, y, y_pred, sample_weight)`: the negative log-likelihood of targets drawn from the model's own outputs.

    Softmax outputs (or logits, where the loss says `from_logits`) are categorical, sigmoid outputs Bernoulli, all others
    Gaussian with unit variance. The mean square of the contributions is then the diagonal of the Fisher information with
    respect to the gates: what silencing a channel does to the model's predictions, to second order.

    Args:
        model: its output activations, and its compiled loss if it has one, tell the kind of each output.
        loss: used instead of the compiled loss.
        seed: for the draws.

    References:
        Martens 2020, "New insights and perspectives on the natural gradient method", section 5.
    """
    kinds = output_kinds(model, loss)
    counter = tf.Variable(0, dtype=tf.int32, trainable=False)

    def objective(x: Any, y: Any, y_pred: Any, sample_weight: Any) -> Any:
        draw = counter.assign_add(1)
        total = 0.0
        for number, (output, kind) in enumerate(zip(keras.tree.flatten(y_pred), kinds, strict=True)):
            key = tf.stack([tf.constant(seed, tf.int32) + 7919 * number, draw])
            total = total + tf.reduce_sum(_surprise(tf.cast(output, tf.float32), kind, key))
        return total

    return objective


def _surprise(output: Any, kind: str, key: Any) -> Any:
    if kind in ("softmax", "logits"):
        logits = output if kind == "logits" else tf.math.log(tf.maximum(output, 1e-7))
        flat = tf.reshape(logits, (-1, output.shape[-1]))
        drawn = tf.random.stateless_categorical(tf.stop_gradient(flat), 1, key)[:, 0]
        drawn = tf.minimum(drawn, flat.shape[-1] - 1)  # of NaN it draws one class too many
        return tf.nn.sparse_softmax_cross_entropy_with_logits(drawn, flat)
    if kind in ("sigmoid", "binary logits"):
        chance = tf.stop_gradient(output if kind == "sigmoid" else tf.sigmoid(output))
        drawn = tf.cast(tf.random.stateless_uniform(tf.shape(output), key) < chance, tf.float32)
        logits = output if kind == "binary logits" else tf.math.log(tf.maximum(output, 1e-7) / tf.maximum(1 - output, 1e-7))
        return tf.nn.sigmoid_cross_entropy_with_logits(drawn, logits)
    # Half the squared distance from a draw around the output; that the output cancels is exact this way.
    offset = output - tf.stop_gradient(output)
    return (offset - tf.random.stateless_normal(tf.shape(output), key)) ** 2 / 2


def output_kinds(model: Any, loss: Any = None) -> list[str]:
    """The kind of each output: softmax, logits, sigmoid, binary logits or gaussian."""
    given = loss if loss is not None else getattr(model, "loss", None)
    if isinstance(given, dict):
        losses = [given.get(name) for name in model.output_names]
    else:
        losses = keras.tree.flatten(given) if given is not None else []
    kinds = []
    for number, output in enumerate(model.outputs):
        source = _source(output)
        activation = getattr(source, "activation", None)
        name = getattr(activation, "__name__", "")
        mine = losses[number] if len(losses) == len(model.outputs) else (losses[0] if len(losses) == 1 else None)
        from_logits = isinstance(mine, keras.losses.Loss) and bool(mine.get_config().get("from_logits", False))
        if name in ("softmax", "sigmoid"):
            kinds.append(name)
        elif type(source).__name__ in ("Softmax", "Sigmoid"):
            kinds.append(type(source).__name__.lower())
        elif from_logits:
            kinds.append("binary logits" if "binary" in type(mine).__name__.lower() else "logits")
        else:
            kinds.append("gaussian")
    return kinds


def _source(output: Any) -> Any:
    """The operation that makes an output, inside a nested model if it is one."""
    history = output._keras_history
    while isinstance(history.operation, keras.Model):
        history = history.operation.outputs[history.tensor_index]._keras_history
    return history.operation
