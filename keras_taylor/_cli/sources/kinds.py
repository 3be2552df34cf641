"""What `--data` and `--scaling` may say; checked without any of the packages that read images."""

from __future__ import annotations

from pathlib import Path

from keras_taylor._output.optional import require
from keras_taylor.errors import BadInput, unknown_name

KINDS = ("digits", "npz", "folder", "tfds")
SCALINGS = ("none", "0-1", "tf", "torch", "caffe")
ARRAYS = ("x_train", "y_train", "x_test", "y_test")
_NEEDED = {"digits": ("sklearn", "demo"), "tfds": ("tensorflow_datasets", "datasets")}


def kind_and_name(source: str) -> tuple[str, str]:
    """`digits`, `npz:PATH`, `folder:PATH` or `tfds:NAME` in its two parts.

    Raises:
        UnknownName: a kind that does not exist.
        BadInput: a path without its kind, that is missing, or not there.

    Example:
        >>> kind_and_name("tfds:mnist")
        ('tfds', 'mnist')
    """
    kind, colon, name = source.partition(":")
    if not colon and kind not in KINDS and ("." in source or "/" in source):
        kind = "folder" if Path(source).is_dir() else "npz"
        raise BadInput(f"data must be digits, npz:PATH, folder:PATH or tfds:NAME. Received: {source!r}. Write {kind}:{source}.")
    if kind not in KINDS:
        raise unknown_name("The kind of data", kind, KINDS)
    if (kind == "digits") == bool(name):
        raise BadInput(f"data must be digits, npz:PATH, folder:PATH or tfds:NAME. Received: {source!r}.")
    if kind == "npz" and not Path(name).is_file():
        raise BadInput(f"npz: must name a file with {', '.join(ARRAYS)}. Received: {name!r}, where no file is.")
    if kind == "folder" and not Path(name).is_dir():
        raise BadInput(f"folder: must name a folder with a folder of images per class. Received: {name!r}.")
    return kind, name


def require_reader(source: str) -> None:
    """Nothing, where what reads this kind of source is installed.

    Raises:
        MissingPackage: it is not.
    """
    kind, _ = kind_and_name(source)
    if kind in _NEEDED:
        require(*_NEEDED[kind])
