"""`digits`: scikit-learn's handwritten digits."""

from __future__ import annotations

from typing import Any

import numpy as np

from keras_taylor._cli.sources.images import Images, Wanted
from keras_taylor._output.optional import optional
from keras_taylor.errors import BadInput


def digits(upscale: int = 2, test: int = 360, seed: int = 0) -> tuple[tuple[Any, Any], tuple[Any, Any]]:
    """scikit-learn's 1,797 handwritten digits as `(x_train, y_train), (x_test, y_test)`.

    Args:
        upscale: the 8 x 8 images are repeated this many times along both axes.
        test: number of test images, drawn at random.
        seed: for the draw.

    Returns:
        Images of shape `(n, 8 * upscale, 8 * upscale, 1)` in [0, 1], float32, and labels of shape `(n,)`.

    Raises:
        MissingPackage: scikit-learn is not installed.
    """
    x, y = optional("sklearn.datasets", "demo").load_digits(return_X_y=True)
    x = (x.reshape(-1, 8, 8, 1) / 16).repeat(upscale, 1).repeat(upscale, 2).astype("float32")
    order = np.random.default_rng(seed).permutation(len(x))
    return (x[order[test:]], y[order[test:]]), (x[order[:test]], y[order[:test]])


def read(_: str, wanted: Wanted) -> Images:
    """The digits, scaled up to what a model takes."""
    height, width, colours = wanted.shape
    if height != width or height % 8 or colours != 1:
        raise BadInput(f"A model for digits must take images of (8k, 8k, 1). Received: {wanted.shape}.")
    if wanted.scaling != "none":
        raise BadInput(f"digits are in [0, 1] already: scaling must be 'none'. Received: {wanted.scaling!r}.")
    return Images(*digits(height // 8), 10)
