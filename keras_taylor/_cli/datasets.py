"""Data that a command names: `digits`, `npz:PATH`, `folder:PATH`, `tfds:NAME`."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from keras_taylor._cli.sources import digits, folder, npz, tfds
from keras_taylor._cli.sources.images import Images, Wanted
from keras_taylor._cli.sources.kinds import SCALINGS, kind_and_name
from keras_taylor.errors import BadInput, unknown_name

_READ: dict[str, Callable[[str, Wanted], Images]] = {
    "digits": digits.read,
    "npz": npz.read,
    "folder": folder.read,
    "tfds": tfds.read,
}

PAPER_SPLITS = {"oxford_flowers102": ("train+validation", "test"), "caltech_birds2011": ("train", "test")}
"""What Molchanov et al. trained and tested on: 2,040 and 6,149 flowers, 5,994 and 5,794 birds."""


def load(source: str, model: Any, *, scaling: str = "none", batch_size: int = 32, seed: int = 0) -> Images:
    """The images that `source` names, as the model takes them.

    Args:
        source: `"digits"` (scikit-learn's handwritten digits, in [0, 1]), `"npz:PATH"` (arrays `x_train`, `y_train`, `x_test`,
            `y_test`), `"folder:PATH"` (a folder of images per class; inside `train` and `test` or `val`; else a fifth is held
            back), or `"tfds:NAME"` (from TensorFlow Datasets). The last two are resized to the model's input.
        model: an image classifier with one input and integer labels.
        scaling: see `Wanted`.
        batch_size: images in a batch of a data set that is read from disk.
        seed: of the order of a data set that is read from disk.

    Raises:
        BadInput: a source that is not there, or that does not fit the model.
        UnknownName: a kind of source, or a scaling, that does not exist.
        MissingPackage: the package that reads this kind of source is not installed.
    """
    kind, name = kind_and_name(source)
    if scaling not in SCALINGS:
        raise unknown_name("scaling", scaling, SCALINGS)
    wanted = Wanted(_image_shape(model), scaling, batch_size, seed)
    if scaling in ("torch", "caffe") and wanted.shape[2] != 3:
        raise BadInput(
            f"scaling={scaling!r} needs images of 3 colours. Received: a model for {wanted.shape}. Try scaling='0-1'."
        )
    found = _READ[kind](name, wanted)
    outputs = model.output_shape[-1]
    if found.classes > outputs:
        raise BadInput(
            f"The model must have an output for each class. Received: {found.classes} classes in {source!r} and {outputs} "
            "outputs. Train the model on these classes first."
        )
    return found


def pixels(source: str, size: int) -> Images:
    """The images that `source` names as arrays, uint8, red, green and blue from 0 to 255.

    Args:
        source: as `load` takes it. Of `tfds:oxford_flowers102` and `tfds:caltech_birds2011` those parts are read that Molchanov
            et al. trained and tested on.
        size: height and width of images that are read from disk; those in an .npz file come as they are.

    Raises:
        BadInput: a source that is not there, or that has no such images.
        UnknownName: a kind of source that does not exist.
        MissingPackage: the package that reads this kind of source is not installed.
    """
    kind, name = kind_and_name(source)
    wanted = Wanted((size, size, 3), dtype="uint8")
    if kind == "npz":
        wanted = replace(wanted, shape=npz.image_shape(name))
    found = tfds.read(name, wanted, PAPER_SPLITS.get(name)) if kind == "tfds" else _READ[kind](name, wanted)
    return Images(_in_memory(found.train, source), _in_memory(found.test, source), found.classes)


def _in_memory(part: Any, source: str) -> tuple[Any, Any]:
    """Images and classes as two arrays; those that were read shuffled in an order that depends on nothing but the images."""
    x, y = part if isinstance(part, tuple) else map(np.concatenate, zip(*part.as_numpy_iterator(), strict=True))
    if not isinstance(part, tuple):
        order = np.argsort([hashlib.sha256(image.tobytes()).hexdigest() for image in x], kind="stable")
        x, y = x[order], y[order]
    if x.dtype != np.uint8:  # digits
        raise BadInput(f"data must have images of whole numbers from 0 to 255 (uint8). Received: {x.dtype} in {source!r}.")
    return x, np.asarray(y)


def _image_shape(model: Any) -> tuple[int, int, int]:
    shape = model.input_shape
    if not isinstance(shape, tuple) or len(shape) != 4 or None in shape[1:]:
        raise BadInput(f"The model must take images of one known shape. Received: input shape {shape}.")
    return shape[1:]
