"""Data that a command names: `digits`, `npz:PATH`, `folder:PATH`, `tfds:NAME`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from sklearn.datasets import load_digits

from keras_taylor.errors import BadInput, unknown_name

_MEAN = np.array((0.485, 0.456, 0.406), "float32")
_CAFFE = np.array((103.939, 116.779, 123.68), "float32")
_STD = np.array((0.229, 0.224, 0.225), "float32")
SCALINGS: dict[str, Callable[[Any], Any]] = {
    "none": lambda x: x,
    "0-1": lambda x: x / 255,
    "tf": lambda x: x / 127.5 - 1,
    "caffe": lambda x: x[..., ::-1] - _CAFFE,
    "torch": lambda x: (x / 255 - _MEAN) / _STD,
}
_ARRAYS = ("x_train", "y_train", "x_test", "y_test")


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
        scaling: what becomes of values from 0 to 255: `"none"`, `"0-1"`, `"tf"` (-1 to 1), `"caffe"` (blue
            first, ImageNet's mean 0: VGG and ResNet of keras.applications), or `"torch"` (ImageNet's mean 0 and
            standard deviation 1 for each colour).
        batch_size: of data sets that are read from disk.
        seed: for their order.
    """

    shape: tuple[int, int, int]
    scaling: str = "none"
    batch_size: int = 32
    seed: int = 0

    def scaled(self, x: Any) -> Any:
        """The images in float32, with their values scaled."""
        return SCALINGS[self.scaling](tf.cast(x, tf.float32) if tf.is_tensor(x) else np.asarray(x, "float32"))


def load(source: str, model: Any, *, scaling: str = "none", batch_size: int = 32, seed: int = 0) -> Images:
    """The images that `source` names, as the model takes them.

    Args:
        source: `"digits"` (scikit-learn's handwritten digits, in [0, 1]), `"npz:PATH"` (arrays `x_train`, `y_train`, `x_test`,
            `y_test`), `"folder:PATH"` (a folder of images per class; inside `train` and `test` or `val`; else a fifth is held
            back), or `"tfds:NAME"` (from TensorFlow Datasets). The last two are resized to the model's input.
        model: an image classifier with one input and integer labels.
        scaling: see `Wanted`.
        batch_size: of data sets that are read from disk.
        seed: for their order.

    Raises:
        BadInput: a source that is not there, or that does not fit the model.
        UnknownName: a kind of source, or a scaling, that does not exist.
    """
    kind, _, name = source.partition(":")
    if kind not in _KINDS:
        raise unknown_name("The kind of data", kind, _KINDS)
    if scaling not in SCALINGS:
        raise unknown_name("scaling", scaling, SCALINGS)
    if (kind == "digits") == bool(name):
        raise BadInput(f"data must be digits, npz:PATH, folder:PATH or tfds:NAME. Received: {source!r}.")
    wanted = Wanted(_image_shape(model), scaling, batch_size, seed)
    if scaling in ("torch", "caffe") and wanted.shape[2] != 3:
        raise BadInput(
            f"scaling={scaling!r} needs images of 3 colours. Received: a model for {wanted.shape}. Try scaling='0-1'."
        )
    found = _KINDS[kind](name, wanted)
    outputs = model.output_shape[-1]
    if found.classes > outputs:
        raise BadInput(
            f"The model must have an output for each class. Received: {found.classes} classes in {source!r} and {outputs} "
            "outputs. Train the model on these classes first."
        )
    return found


def digits(upscale: int = 2, test: int = 360, seed: int = 0) -> tuple[tuple[Any, Any], tuple[Any, Any]]:
    """scikit-learn's 1,797 handwritten digits as `(x_train, y_train), (x_test, y_test)`.

    Args:
        upscale: the 8 x 8 images are repeated this many times along both axes.
        test: number of test images, drawn at random.
        seed: for the draw.

    Returns:
        Images of shape `(n, 8 * upscale, 8 * upscale, 1)` in [0, 1], float32, and labels of shape `(n,)`.
    """
    x, y = load_digits(return_X_y=True)
    x = (x.reshape(-1, 8, 8, 1) / 16).repeat(upscale, 1).repeat(upscale, 2).astype("float32")
    order = np.random.default_rng(seed).permutation(len(x))
    return (x[order[test:]], y[order[test:]]), (x[order[:test]], y[order[:test]])


def _image_shape(model: Any) -> tuple[int, int, int]:
    shape = model.input_shape
    if not isinstance(shape, tuple) or len(shape) != 4 or None in shape[1:]:
        raise BadInput(f"The model must take images of one known shape. Received: input shape {shape}.")
    return shape[1:]


def _digits(_: str, wanted: Wanted) -> Images:
    height, width, colours = wanted.shape
    if height != width or height % 8 or colours != 1:
        raise BadInput(f"A model for digits must take images of (8k, 8k, 1). Received: {wanted.shape}.")
    if wanted.scaling != "none":
        raise BadInput(f"digits are in [0, 1] already: scaling must be 'none'. Received: {wanted.scaling!r}.")
    return Images(*digits(height // 8), 10)


def _npz(path: str, wanted: Wanted) -> Images:
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in _ARRAYS}
    except (OSError, ValueError, KeyError, AttributeError) as error:
        raise BadInput(f"npz: must name a file with {', '.join(_ARRAYS)}. Received: {path!r} ({error}).") from None
    for name in ("x_train", "x_test"):
        if arrays[name].shape[1:] != wanted.shape:
            raise BadInput(f"{name} must have images of {wanted.shape}. Received: {arrays[name].shape[1:]} in {path!r}.")
    train, test = ((wanted.scaled(arrays[f"x_{part}"]), _labels(arrays[f"y_{part}"])) for part in ("train", "test"))
    classes = (y.shape[1] if y.ndim == 2 else int(y.max()) + 1 for _, y in (train, test))
    return Images(train, test, max(classes))


def _labels(y: Any) -> Any:
    """Classes as `(n,)`; one-hot labels stay as they are."""
    return y if y.ndim == 2 and y.shape[1] > 1 else np.ravel(y)


def _folder(path: str, wanted: Wanted) -> Images:
    root = Path(path)
    if not root.is_dir():
        raise BadInput(f"folder: must name a folder with a folder of images per class. Received: {path!r}.")
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


def _tfds(name: str, wanted: Wanted) -> Images:
    import tensorflow_datasets as tfds  # slow to import, and seldom needed

    try:
        builder = tfds.builder(name)
    except (tfds.core.DatasetNotFoundError, ValueError) as error:
        raise BadInput(f"tfds: must name a data set. Received: {name!r} ({str(error).splitlines()[0]}).") from None
    builder.download_and_prepare()
    if not builder.info.supervised_keys or "train" not in builder.info.splits:
        raise BadInput(f"A data set must have labels and a part 'train'. Received: {name!r} with {list(builder.info.splits)}.")
    splits = ("train", next((part for part in ("test", "validation") if _labelled(builder, part)), None))
    if splits[1] is None:
        splits = ("train[:80%]", "train[80%:]")

    def prepare(x: Any, y: Any) -> tuple[Any, Any]:
        return wanted.scaled(tf.image.resize(_coloured(x, wanted.shape[2]), wanted.shape[:2])), y

    train, test = (
        builder.as_dataset(
            split=split,
            as_supervised=True,
            shuffle_files=shuffle,
            read_config=tfds.ReadConfig(shuffle_seed=wanted.seed, try_autocache=False),
        )
        for split, shuffle in zip(splits, (True, False), strict=True)
    )
    train = train.shuffle(1024, seed=wanted.seed)
    first, second = (part.map(prepare).batch(wanted.batch_size).prefetch(tf.data.AUTOTUNE) for part in (train, test))
    return Images(first, second, builder.info.features[builder.info.supervised_keys[1]].num_classes)


def _labelled(builder: Any, part: str) -> bool:
    """Whether the data set has this part with labels: those of ImageNet's test images, say, are all -1."""
    if part not in builder.info.splits:
        return False
    return all(int(y) >= 0 for _, y in builder.as_dataset(split=part, as_supervised=True).take(1))


def _coloured(x: Any, colours: int) -> Any:
    if x.shape[-1] == colours:
        return x
    if {x.shape[-1], colours} == {1, 3}:
        return tf.image.grayscale_to_rgb(x) if colours == 3 else tf.image.rgb_to_grayscale(x)
    raise BadInput(f"The model must take the images' colours. Received: {colours} for images of {x.shape[-1]}.")


_KINDS: dict[str, Callable[[str, Wanted], Images]] = {"digits": _digits, "npz": _npz, "folder": _folder, "tfds": _tfds}
