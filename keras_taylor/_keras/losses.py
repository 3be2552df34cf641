"""The losses that scores come from, as sums over examples, without touching the model's own loss and metric state."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf
from keras.src.trainers.compile_utils import CompileLoss

from keras_taylor._keras.heads import output_kinds
from keras_taylor._keras.model import pack_outputs
from keras_taylor.errors import BadInput

Objective = Callable[[Any, Any, Any, Any], Any]


def summed_loss(model: Any, loss: Any = None) -> Objective:
    """`objective(x, y, y_pred, sample_weight)`: the loss, summed over the examples of a batch.

    Gradients with respect to one example are then its own, whatever the batch size. Sums over the activities of layers
    (`add_loss`, activity regularisers) are left out.

    Args:
        model: its compiled loss is used, or its `compute_loss` if that is overridden.
        loss: a loss (name, function, `keras.losses.Loss`, or a structure of them) to use instead.

    Raises:
        BadInput: the model is not compiled with a loss and none is given.
    """
    if overrides_loss(model, loss):
        return _overridden(model)
    return _wrapped(model, loss, _Summed)


def loss_of_each(model: Any, loss: Any = None) -> Objective:
    """`objective(x, y, y_pred, sample_weight)`: the loss of every example, shape `(batch,)`; otherwise as `summed_loss`."""
    if not overrides_loss(model, loss):
        return _wrapped(model, loss, _OfEach)
    summed = _overridden(model)

    def objective(x: Any, y: Any, y_pred: Any, sample_weight: Any) -> Any:
        def alone(example: Any) -> Any:
            rows = keras.tree.map_structure(
                lambda a: None if a is None else a[example : example + 1], (x, y, y_pred, sample_weight)
            )
            return tf.cast(summed(*rows), tf.float32)

        count = tf.shape(keras.tree.flatten(y_pred)[0])[0]
        return tf.map_fn(alone, tf.range(count), fn_output_signature=tf.float32)

    return objective


def applied(objective: Objective, model: Any, x: Any, y: Any, outputs: Sequence[Any], sample_weight: Any) -> Any:
    """An objective of the outputs of `model` as a flat list, in float32.

    Args:
        objective: of this module.
        model: whose outputs they are.
        x: inputs, as the objective takes them, like `y` and `sample_weight`.
        y: labels, or None.
        outputs: one tensor per output of the model, shape `(batch, ...)`.
        sample_weight: or None.
    """
    y_pred = pack_outputs(model, outputs)
    if isinstance(y_pred, list) and len(y_pred) == 1:  # as `fit` does
        y_pred = y_pred[0]
    return tf.cast(objective(x, y, y_pred, sample_weight), tf.float32)


def loss_name(model: Any, loss: Any = None) -> str:
    """What an error calls a loss, or a structure of them."""
    given = model._compile_loss._user_loss if loss is None else loss
    return str(keras.tree.map_structure(lambda one: getattr(one, "name", None) or getattr(one, "__name__", one), given))


def overrides_loss(model: Any, loss: Any = None) -> bool:
    """Whether the loss is what `compute_loss` of the model's own class says."""
    return loss is None and type(model).compute_loss is not keras.Model.compute_loss


def _wrapped(model: Any, loss: Any, wrapper: type[_Summed]) -> Objective:
    weights = None
    if loss is None:
        compiled = getattr(model, "_compile_loss", None)
        if compiled is None:
            raise BadInput(
                f"The model must have a loss. Received: {model.name!r}, which is not compiled with one. "
                "Call model.compile(loss=...), or pass loss=."
            )
        loss, weights = compiled._user_loss, compiled._user_loss_weights
    fresh = CompileLoss(loss, weights, output_names=getattr(model, "output_names", None))

    def objective(x: Any, y: Any, y_pred: Any, sample_weight: Any) -> Any:
        if not fresh.built:
            fresh(y, y_pred, sample_weight)  # resolves names and structures into losses
            fresh._flat_losses = [one._replace(loss=wrapper(one.loss)) for one in fresh._flat_losses]
        return fresh(y, y_pred, sample_weight)

    return objective


class _Summed(keras.losses.Loss):
    """A loss with whatever reduction, summed over examples (a mean over the other axes of an example)."""

    def __init__(self, loss: Any) -> None:
        super().__init__(name=loss.name, reduction="sum", dtype=loss.dtype)
        self.loss = loss

    def call(self, y_true: Any, y_pred: Any) -> Any:
        value = self.loss.call(y_true, y_pred)
        if len(value.shape) == 0:  # a function that averages over the batch itself
            return tf.fill(tf.shape(y_pred)[:1], value)
        return value / tf.cast(tf.math.reduce_prod(tf.shape(value)[1:]), value.dtype)


class _OfEach(_Summed):
    """A loss with whatever reduction, as one number per example: the sum over the other axes of what it returns."""

    def __init__(self, loss: Any) -> None:
        super().__init__(loss)
        self.reduction = None

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        value = super().__call__(y_true, y_pred, sample_weight)
        return tf.reduce_sum(tf.reshape(value, (tf.shape(value)[0], -1)), 1)


def _overridden(model: Any) -> Objective:
    def objective(x: Any, y: Any, y_pred: Any, sample_weight: Any) -> Any:
        value = model.compute_loss(x, y, y_pred, sample_weight, training=False)
        return value * _batch(y_pred, value.dtype)

    return objective


def _batch(y_pred: Any, dtype: Any) -> Any:
    return tf.cast(tf.shape(keras.tree.flatten(y_pred)[0])[0], dtype)


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
