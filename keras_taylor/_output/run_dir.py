"""A folder of results that belongs to one run: it is identified, and its files appear whole."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from keras_taylor._output.files import as_path, check_writable, write_text
from keras_taylor.errors import BadInput


def writable_folder(folder: str | Path, parts: Sequence[str]) -> Path:
    """The folder, with these folders in it, made where they are missing.

    Raises:
        BadInput: they cannot be made or written to.
    """
    root = as_path(folder, "run_dir")
    try:
        for part in parts:
            (root / part).mkdir(parents=True, exist_ok=True)
            check_writable(root / part / "any")
    except OSError as error:
        raise BadInput(f"run_dir must be a folder that can be made. Received: {str(folder)!r} ({error}).") from None
    return root


def check_same(root: Path, what: str, stored: Any, now: Any) -> None:
    """Raise `BadInput`, with the differences, unless two identities are equal."""
    before, after = dict(_flat(stored)), dict(_flat(now))
    differences = []
    for name in dict.fromkeys([*before, *after]):
        if before.get(name) != after.get(name):
            was, is_now = (json.dumps(one[name]) if name in one else "absent" for one in (before, after))
            differences.append(f"{name} was {was} and is {is_now}")
    if differences:
        raise BadInput(
            f"run_dir must hold {what} of the same model, data and settings. Received: {str(root)!r}, where "
            f"{'; '.join(differences)}. Pass another run_dir, or what it was started with."
        )


def as_json(value: Any) -> Any:
    """The value as it is read back from a file."""
    return json.loads(json.dumps(value, default=str))


def read_json(path: Path) -> Any:
    """The content of a file.

    Raises:
        BadInput: it is not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise BadInput(f"{path.name} must be JSON. Received: {str(path)!r} ({error}). Delete it.") from None


def write_json(path: Path, value: Any) -> None:
    """Write a file, at once or not at all."""
    write_text(path, json.dumps(value, indent=1))


def _flat(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping) and value:
        for name, inner in value.items():
            yield from _flat(inner, f"{path}.{name}" if path else name)
    else:
        yield path, value
