"""More unlabelled examples out of few: any input will do, as long as the original can say what it makes of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from keras_taylor.errors import BadInput

Augment = Callable[[list[Any]], list[Any]]


def augmentation(augment: Any, inputs: Sequence[Any], seed: int) -> Augment:
    """The function from a batch, one tensor per model input, to a batch of the same shapes that `augment` stands for.

    Args:
        augment: None; `"images"` (flips and shifts, where an input is images of a fixed size; other inputs stay as they are);
            or a function that takes a batch of what the model takes, one tensor or a list, and returns the same.
        inputs: the model's inputs, as `program.inputs`.
        seed: for `"images"`.

    Raises:
        BadInput: from the function, if it changes shape or dtype.
    """
    if augment is None:
        return lambda batch: batch
    if augment == "images":
        rng = np.random.default_rng(seed)
        images = [_is_image(one) for one in inputs]
        return lambda batch: [_move(x, rng) if image else x for x, image in zip(batch, images, strict=True)]

    def checked(batch: list[Any]) -> list[Any]:
        made = augment(batch[0] if len(batch) == 1 else list(batch))
        parts = [tf.convert_to_tensor(x) for x in (made if isinstance(made, (list, tuple)) else [made])]
        before, after = ([(tuple(x.shape), x.dtype.name) for x in one] for one in (batch, parts))
        if before != after:
            raise BadInput(f"augment must keep shape and dtype. Received: {before} became {after}.")
        return parts

    return checked


def _is_image(tensor: Any) -> bool:
    shape = tensor.shape
    known = len(shape) == 4 and None not in shape[1:] and tensor.dtype.startswith(("float", "bfloat"))
    return bool(known and shape[-1] in (1, 3) and min(shape[1:3]) >= 8)


def _move(images: Any, rng: np.random.Generator) -> Any:
    """Flip half of the images left to right, and shift each by up to an eighth of its size; edges are mirrored."""
    count, height, width = images.shape[:3]
    rows = _mirrored(np.arange(height) + _shifts(rng, count, height), height)
    columns = _mirrored(np.arange(width) + _shifts(rng, count, width), width)
    columns = np.where(rng.random((count, 1)) < 0.5, columns[:, ::-1], columns)
    return tf.gather(tf.gather(images, rows, axis=1, batch_dims=1), columns, axis=2, batch_dims=1)


def _shifts(rng: np.random.Generator, count: int, size: int) -> Any:
    return rng.integers(-(size // 8), size // 8 + 1, (count, 1))


def _mirrored(index: Any, size: int) -> Any:
    index = np.abs(index)
    return np.where(index >= size, 2 * (size - 1) - index, index)
