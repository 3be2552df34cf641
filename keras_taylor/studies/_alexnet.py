"""AlexNet as Caffe has it: the net that Molchanov et al. pruned on Flowers-102."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

from keras_taylor.errors import positive, whole_number
from keras_taylor.studies._lrn import local_response_normalization
from keras_taylor.studies._pixels import centred

SIZE = 227


def alexnet(classes: int, *, width: float = 1.0, size: int = SIZE, spread: float = 1.0) -> Any:
    """CaffeNet's topology: five convolutions, the second, fourth and fifth in two groups; LRN, dropout, three Dense layers.

    Each convolution is two layers, `conv1a` and `conv1b`, the halves of its maps, as on the two cards of the original. A group
    reads one half: so each map can be removed by itself, where `Conv2D(groups=2)` would lose maps in pairs. Outputs are logits.

    Args:
        classes: number of outputs.
        width: share of the maps, and of the two hidden Dense layers.
        size: height and width of the images. Below 192 pixels the first convolution has a stride of 2 instead of 4.
        spread: what pixels are divided by after their mean is subtracted; 1 as in Caffe, for its weights.

    Returns:
        A functional model that is not compiled, and takes images `(size, size, 3)` of 0 to 255, red first.

    Raises:
        BadInput: a size below 64, or numbers out of range.

    Example:
        >>> alexnet(3, width=0.05, size=64).output_shape
        (None, 3)

    References:
        Krizhevsky et al. 2012; `bvlc_reference_caffenet` of Caffe (pooling before LRN).
    """
    classes, size = whole_number("classes", classes, 2), whole_number("size", size, 64)
    width = positive("width", width)

    def half(filters: int) -> int:
        return max(round(filters * width / 2), 1)

    def both(name: str, read: Sequence[Any], filters: int, kernel: int, **options: Any) -> list[Any]:
        layers = (keras.layers.Conv2D(half(filters), kernel, activation="relu", name=name + ab, **options) for ab in "ab")
        return [layer(x) for layer, x in zip(layers, read, strict=True)]

    def joined(name: str, halves: list[Any]) -> Any:
        return keras.layers.Concatenate(name=name)(halves)

    options: dict[str, Any] = {"kernel_initializer": "he_normal"}
    same = {**options, "padding": "same"}
    inputs = keras.Input((size, size, 3), name="image")
    x = centred(inputs, spread)
    x = joined("maps1", both("conv1", (x, x), 96, 11, strides=4 if size >= 192 else 2, **options))
    x = local_response_normalization(keras.layers.MaxPooling2D(3, 2, name="pool1")(x), "norm1")
    x = joined("maps2", both("conv2", (x[..., : half(96)], x[..., half(96) :]), 256, 5, **same))
    x = local_response_normalization(keras.layers.MaxPooling2D(3, 2, name="pool2")(x), "norm2")
    halves = both("conv3", (x, x), 384, 3, **same)
    halves = both("conv4", halves, 384, 3, **same)
    x = joined("maps5", both("conv5", halves, 256, 3, **same))
    x = keras.layers.Flatten(name="flatten")(keras.layers.MaxPooling2D(3, 2, name="pool5")(x))
    for name in ("fc6", "fc7"):
        x = keras.layers.Dense(max(round(4096 * width), 1), activation="relu", name=name, **options)(x)
        x = keras.layers.Dropout(0.5, name=f"drop{name[-1]}")(x)
    return keras.Model(inputs, keras.layers.Dense(classes, name="logits")(x), name="alexnet")
