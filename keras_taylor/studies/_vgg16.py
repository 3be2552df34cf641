"""VGG-16: the net that Molchanov et al. pruned on Birds-200."""

from __future__ import annotations

from typing import Any

import keras

from keras_taylor.errors import positive, whole_number
from keras_taylor.studies._pixels import centred

SIZE = 224
CONFIGURATION = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))
"""Filters, and number of convolutions, of each block; a max-pooling of 2 x 2 ends it."""


def convolutions(x: Any, width: float, batch_norm: bool, initializer: str = "he_normal") -> Any:
    """The 13 convolutions of configuration D, with ReLU and pooling; names are those of keras.applications."""
    for block, (filters, count) in enumerate(CONFIGURATION, 1):
        for number in range(1, count + 1):
            name = f"block{block}_conv{number}"
            options = {"padding": "same", "kernel_initializer": initializer, "name": name}
            filters_here = max(int(filters * width), 1)
            if batch_norm:
                x = keras.layers.Conv2D(filters_here, 3, use_bias=False, **options)(x)
                x = keras.layers.ReLU(name=f"{name}_relu")(keras.layers.BatchNormalization(name=f"{name}_bn")(x))
            else:
                x = keras.layers.Conv2D(filters_here, 3, activation="relu", **options)(x)
        x = keras.layers.MaxPooling2D(name=f"block{block}_pool")(x)
    return x


def vgg16(classes: int, *, width: float = 1.0, size: int = SIZE, batch_norm: bool = False, spread: float = 1.0) -> Any:
    """VGG-16 with its two hidden Dense layers and dropout; outputs are logits.

    Args:
        classes: number of outputs.
        width: share of the maps, and of the two hidden Dense layers.
        size: height and width of the images.
        batch_norm: whether BatchNormalization follows each convolution: without it, and without weights from elsewhere, so deep
            a chain hardly trains.
        spread: what pixels are divided by after their mean is subtracted; 1 for the weights of keras.applications.

    Returns:
        A functional model that is not compiled, and takes images `(size, size, 3)` of 0 to 255, red first.

    Raises:
        BadInput: a size below 32, or numbers out of range.

    Example:
        >>> vgg16(3, width=0.02, size=32).output_shape
        (None, 3)

    References:
        Simonyan and Zisserman 2015, configuration D.
    """
    classes, size = whole_number("classes", classes, 2), whole_number("size", size, 32)
    width = positive("width", width)
    inputs = keras.Input((size, size, 3), name="image")
    x = keras.layers.Flatten(name="flatten")(convolutions(centred(inputs, spread), width, batch_norm))
    for name in ("fc1", "fc2"):
        x = keras.layers.Dense(max(int(4096 * width), 1), activation="relu", kernel_initializer="he_normal", name=name)(x)
        x = keras.layers.Dropout(0.5, name=f"{name}_dropout")(x)
    return keras.Model(inputs, keras.layers.Dense(classes, name="logits")(x), name="vgg16")
