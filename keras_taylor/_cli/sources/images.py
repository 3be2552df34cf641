"""Images as a model takes them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

_MEAN = np.array((0.485, 0.456, 0.406), "float32")
_STD = np.array((0.229, 0.224, 0.225), "float32")
_CAFFE = np.array((103.939, 116.779, 123.68), "float32")
SCALED: dict[str, Callable[[Any], Any]] = {
    "none": lambda x: x,
    "0-1": lambda x: x / 255,
    "tf": lambda x: x / 127.5 - 1,
    "torch": lambda x: (x / 255 - _MEAN) / _STD,
    "caffe": lambda x: x[..., ::-1] - _CAFFE,
}


@dataclass(frozen=True)
class Images:
    """Labelled images in two parts, each as `fit` takes it."""

    train: Any
    test: Any
    classes: int


@dataclass(frozen=True)
class Wanted:
    """How a model takes its images.

    Args:
        shape: height, width and colours.
        scaling: what becomes of values from 0 to 255: `"none"`, `"0-1"`, `"tf"` (-1 to 1), `"torch"` (ImageNet's mean 0 and
            standard deviation 1 for each colour), or `"caffe"` (blue first, ImageNet's mean 0: VGG and ResNet of
            keras.applications).
        batch_size: images in a batch of a data set that is read from disk.
        seed: of the order of a data set that is read from disk.
        dtype: of the images: `"float32"`, or `"uint8"` for values of 0 to 255 that are not scaled.
    """

    shape: tuple[int, int, int]
    scaling: str = "none"
    batch_size: int = 32
    seed: int = 0
    dtype: str = "float32"

    def scaled(self, x: Any) -> Any:
        """The images with their values scaled: an array of an array, a tensor of a tensor."""
        if isinstance(x, np.ndarray):
            return SCALED[self.scaling](np.asarray(x, self.dtype))
        import tensorflow as tf  # slow to import, and not needed for arrays

        if self.dtype == "uint8":
            return tf.cast(tf.clip_by_value(tf.round(x), 0, 255), tf.uint8)
        return SCALED[self.scaling](tf.cast(x, tf.float32))
