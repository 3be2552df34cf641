"""Data that a command names: `digits`, `npz:PATH`, `folder:PATH`, `tfds:NAME`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

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


def _image_shape(model: Any) -> tuple[int, int, int]:
    shape = model.input_shape
    if not isinstance(shape, tuple) or len(shape) != 4 or None in shape[1:]:
        raise BadInput(f"The model must take images of one known shape. Received: input shape {shape}.")
    return shape[1:]
