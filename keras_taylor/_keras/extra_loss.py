"""Train a functional model on a loss of tensors inside it, with or without its own loss, through its own `fit`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import tensorflow as tf

from keras_taylor._keras.model import feed, pack_outputs
from keras_taylor._keras.program import Observed, Program, Running, Tensor

Extra = Callable[[Sequence[Any], Sequence[Any]], Any]
"""From the model's inputs, a flat list, and the values of the wanted tensors: a scalar to minimise."""
Change = Callable[[list[Any]], list[Any]]
"""From the model's inputs, a flat list, to others of the same shapes."""


@contextmanager
def extra_loss(
    model: Any, program: Program, wanted: Sequence[Tensor], extra: Extra, running: Running, own: float, change: Change
) -> Iterator[None]:
    """Inside the block, a training step of `model` minimises `extra` plus `own` times its own loss; evaluation is as it was.

    The forward pass that training makes anyway gives the wanted tensors, and the training loss that is logged is what is
    minimised. It is the model's own `fit` that trains, so callbacks see the model itself.

    Args:
        model: functional, and compiled.
        program: of the model.
        wanted: tensors of the program.
        extra: what is minimised, from their values.
        running: how a call is run in a training step.
        own: the weight of the model's own loss; with 0 it is for the logs of outputs alone.
        change: applied to the inputs of a training step, before all else.
    """
    seen: list[tuple[list[Any], list[Any]]] = []
    call, compute_loss = model.call, model.compute_loss

    def call_and_see(inputs: Any, training: Any = None, mask: Any = None) -> Any:
        if training is not True:
            return call(inputs, training=training, mask=mask)
        flat = change(feed(model, inputs))
        values = program.run(flat, running, [*wanted, *program.outputs])
        seen[:] = [(flat, values[: len(wanted)])]
        return pack_outputs(model, values[len(wanted) :])

    def compute_both(x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, training: bool = True) -> Any:
        loss = compute_loss(x=x, y=y, y_pred=y_pred, sample_weight=sample_weight, training=training)
        if not (training and seen):
            return loss
        minimised = extra(*seen.pop())
        return minimised + tf.cast(own * loss, minimised.dtype) if own else minimised

    model.call, model.compute_loss = Observed(call_and_see), compute_both
    model.train_function = None  # one that was compiled before knows nothing of this
    try:
        yield
    finally:
        del model.call, model.compute_loss
        model.train_function = None
