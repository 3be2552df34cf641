"""Whether a batch fits its model: tried on the model and its loss, before work begins or to explain why it failed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import keras
import tensorflow as tf

from keras_taylor._keras.batches import Batch
from keras_taylor._keras.losses import applied, loss_name, overrides_loss, summed_loss
from keras_taylor._keras.model import feed, pack_inputs
from keras_taylor.errors import BadInput, KerasTaylorError


def check_batch(model: Any, batch: Batch, loss: Any = None, name: str = "x") -> None:
    """Raise `BadInput` unless the model takes the inputs of a batch, and its loss the labels if there are any.

    Args:
        model: a functional model.
        batch: inputs, labels and sample weights.
        loss: used instead of the compiled one.
        name: of the argument that the batch is from.
    """
    x, y, weight = keras.tree.map_structure(lambda a: None if a is None else tf.convert_to_tensor(a), batch)
    inputs = feed(model, x)
    if y is None or overrides_loss(model, loss):  # a loss of the user's own may keep count of its calls
        return
    objective = summed_loss(model, loss)
    outputs = keras.tree.flatten(model(pack_inputs(model, inputs), training=False))
    try:
        applied(objective, model, x, y, outputs, weight)
    except Exception as error:  # whatever a loss raises
        labels = "Labels" if name == "x" else f"Labels of {name}"
        raise BadInput(
            f"{labels} must fit the model's outputs and its loss. Received: y of shape {_shapes(y)} for outputs of shape "
            f"{_shapes(model.outputs)} and the loss {loss_name(model, loss)} ({_cause(error)}). A sparse loss takes classes, "
            "from 0 to one below the number of outputs, others labels of the outputs' shape; several outputs, several labels."
        ) from None


@contextmanager
def explained(model: Any, batch: Batch, loss: Any = None) -> Iterator[None]:
    """Where what is done with a batch fails, and `check_batch` knows why, its error is raised."""
    try:
        yield
    except KerasTaylorError:
        raise
    except Exception:
        check_batch(model, batch, loss)
        raise


def _shapes(y: Any) -> str:
    return ", ".join(str((None, *part.shape[1:])) for part in keras.tree.flatten(y))


def _cause(error: Exception) -> str:
    """What TensorFlow or Keras says, in a line."""
    text = re.sub(r"\{\{.*?\}\}", "", str(error)).strip()
    return text.splitlines()[0][:200].strip() if text else type(error).__name__
