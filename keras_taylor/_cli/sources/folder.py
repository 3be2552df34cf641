"""`folder:PATH`: image files, one folder per class."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from keras_taylor._cli.sources.images import Images, Wanted
from keras_taylor.errors import BadInput


def read(path: str, wanted: Wanted) -> Images:
    """The images in `train` and `test` (or `val`); without these two, a fifth is held back."""
    root = Path(path)
    tests = [root / name for name in ("test", "val", "valid", "validation") if (root / name).is_dir()]
    if (root / "train").is_dir() and tests:
        train, test = _images(root / "train", wanted, shuffle=True), _images(tests[0], wanted, shuffle=False)
    elif (root / "train").is_dir():
        raise BadInput(f"folder: must have a folder test, val, valid or validation beside train. Received: {path!r}.")
    else:
        # One draw for both parts: image_dataset_from_directory shuffles before it splits.
        split = {"validation_split": 0.2, "shuffle": True}
        train, test = (_images(root, wanted, subset=subset, **split) for subset in ("training", "validation"))
    if train.class_names != test.class_names:
        raise BadInput(
            f"Both parts must have the same classes. Received: {train.class_names} for training and {test.class_names} for "
            f"testing in {path!r}."
        )
    first, second = (part.map(lambda x, y: (wanted.scaled(x), y)).prefetch(tf.data.AUTOTUNE) for part in (train, test))
    return Images(first, second, len(train.class_names))


def _images(folder: Path, wanted: Wanted, **options: Any) -> Any:
    height, width, colours = wanted.shape
    modes = {1: "grayscale", 3: "rgb", 4: "rgba"}
    if colours not in modes:
        raise BadInput(f"A model for image files must take 1, 3 or 4 colours. Received: {colours}.")
    try:
        return keras.utils.image_dataset_from_directory(
            folder,
            image_size=(height, width),
            color_mode=modes[colours],
            batch_size=wanted.batch_size,
            seed=wanted.seed,
            verbose=False,
            **options,
        )
    except ValueError as error:
        raise BadInput(f"folder: must name a folder with images. Received: {str(folder)!r} ({error}).") from None
