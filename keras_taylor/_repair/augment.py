"""More unlabelled examples out of few: any input will do, as long as the original can say what it makes of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from keras_taylor._keras.extra_loss import Change
from keras_taylor.errors import BadInput


def augmentation(augment: Any, inputs: Sequence[Any], seed: int) -> Change:
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
        seeds = keras.random.SeedGenerator(seed)
        images = [_is_image(one) for one in inputs]
        return lambda batch: [_move(x, seeds) if image else x for x, image in zip(batch, images, strict=True)]

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


def _move(images: Any, seeds: keras.random.SeedGenerator) -> Any:
    """Flip half of the images left to right, and shift each by up to an eighth of its size; edges are mirrored."""
    count = tf.shape(images)[0]
    height, width = images.shape[1:3]
    rows = _mirrored(tf.range(height) + _drawn(count, -(height // 8), height // 8, seeds), height)
    columns = _mirrored(tf.range(width) + _drawn(count, -(width // 8), width // 8, seeds), width)
    columns = tf.where(_drawn(count, 0, 1, seeds) == 0, columns, tf.reverse(columns, [1]))
    return tf.gather(tf.gather(images, rows, axis=1, batch_dims=1), columns, axis=2, batch_dims=1)


def _drawn(count: Any, least: int, most: int, seeds: keras.random.SeedGenerator) -> Any:
    """One whole number for each image, shape `(count, 1)`."""
    seed = tf.cast(seeds.next(), tf.int32)
    return tf.random.stateless_uniform(tf.stack([count, 1]), seed, least, most + 1, tf.int32)


def _mirrored(index: Any, size: int) -> Any:
    index = tf.abs(index)
    return tf.where(index >= size, 2 * (size - 1) - index, index)
