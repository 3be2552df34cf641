"""Pixels of 0 to 255 as the nets of study `grid` take them."""

from __future__ import annotations

from typing import Any

import keras

MEAN = (123.68, 116.779, 103.939)
"""ImageNet's mean of red, green and blue, as Caffe's and Keras's VGG-16 have it."""


def centred(inputs: Any, spread: float) -> Any:
    """The images minus ImageNet's mean, divided by `spread`."""
    return keras.layers.Normalization(mean=MEAN, variance=(spread**2,) * 3, name="pixels")(inputs)
