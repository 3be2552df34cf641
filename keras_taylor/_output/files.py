"""Files appear whole or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from keras_taylor.errors import BadInput


def as_path(path: str | Path, name: str = "path") -> Path:
    """The path of a file or folder.

    Raises:
        BadInput: it is something else; `name` says of what.
    """
    if not isinstance(path, (str, os.PathLike)):
        raise BadInput(
            f"{name} must be a path. Received: {type(path).__name__}. Pass a text or a pathlib.Path; the model comes before it."
        )
    return Path(path)


def check_writable(path: str | Path) -> Path:
    """The path, if a file can be made there; call it before long work starts.

    Raises:
        BadInput: the folder does not exist or cannot be written to, or the path is a folder.
    """
    path = as_path(path)
    if path.is_dir():
        raise BadInput(f"path must be a file. Received: {str(path)!r}, which is a folder. Add a file name.")
    folder = path.parent
    if not folder.is_dir():
        raise BadInput(f"path must be in a folder that exists. Received: {str(path)!r}. Create {str(folder)!r} first.")
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise BadInput(f"path must be writable. Received: {str(path)!r} ({error.strerror}).") from None
    return path


def write_atomically(path: str | Path, write: Callable[[str], object]) -> None:
    """Let `write` fill a file beside `path`, then move it there in one step.

    Raises:
        BadInput: nothing can be written at `path`.
    """
    path = check_writable(path)
    handle, part = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}-", suffix=path.suffix)
    os.close(handle)
    try:
        write(part)
        os.chmod(part, 0o666 & ~_umask())
        os.replace(part, path)
    finally:
        Path(part).unlink(missing_ok=True)


def write_text(path: str | Path, text: str) -> None:
    """Write a text file, at once or not at all.

    Raises:
        BadInput: nothing can be written at `path`.
    """
    write_atomically(path, lambda part: Path(part).write_text(text, encoding="utf-8"))


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
