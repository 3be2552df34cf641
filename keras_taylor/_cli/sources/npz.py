"""`npz:PATH`: arrays in a file of NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np

from keras_taylor._cli.sources.images import Images, Wanted
from keras_taylor._cli.sources.kinds import ARRAYS
from keras_taylor.errors import BadInput, listed


def read(path: str, wanted: Wanted) -> Images:
    """The arrays `x_train`, `y_train`, `x_test` and `y_test`, scaled."""
    arrays = _arrays(path)
    for name in ("x_train", "x_test"):
        if arrays[name].shape[1:] != wanted.shape:
            raise BadInput(f"{name} must have images of {wanted.shape}. Received: {arrays[name].shape[1:]} in {path!r}.")
        if wanted.dtype == "uint8" and arrays[name].dtype != np.uint8:
            raise BadInput(
                f"{name} must have images of whole numbers from 0 to 255 (uint8). Received: {arrays[name].dtype} in {path!r}."
            )
    train, test = ((wanted.scaled(arrays[f"x_{part}"]), _labels(arrays[f"y_{part}"])) for part in ("train", "test"))
    classes = (y.shape[1] if y.ndim == 2 else int(y.max()) + 1 for _, y in (train, test))
    return Images(train, test, max(classes))


def image_shape(path: str) -> tuple[int, int, int]:
    """Height, width and colours of the images."""
    shape = _arrays(path)["x_train"].shape
    if len(shape) != 4:
        raise BadInput(f"x_train must have the shape (n, height, width, colours). Received: {shape} in {path!r}.")
    height, width, colours = shape[1:]
    return height, width, colours


def _arrays(path: str) -> dict[str, Any]:
    """The four arrays."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files if name in ARRAYS}
            found = archive.files
    except (OSError, ValueError, AttributeError) as error:
        raise BadInput(f"npz: must name a file with {', '.join(ARRAYS)}. Received: {path!r} ({error}).") from None
    if len(arrays) < len(ARRAYS):
        raise BadInput(
            f"npz: must name a file with {', '.join(ARRAYS)}. Received: {path!r} with {listed(found, most=8) or 'nothing'}. "
            f"Write one with numpy.savez(path, {', '.join(f'{name}=...' for name in ARRAYS)})."
        )
    return arrays


def _labels(y: Any) -> Any:
    """Classes as `(n,)`; one-hot labels stay as they are."""
    return y if y.ndim == 2 and y.shape[1] > 1 else np.ravel(y)
