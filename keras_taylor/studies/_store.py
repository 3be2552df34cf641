"""`Store`: a folder in which everything that a study measured is kept, each measurement a file that appears whole."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from keras_taylor._output.run_dir import as_json, check_same, read_json, writable_folder, write_json


class Store:
    """Measurements by what they depend on. Several processes may work on one folder.

    Args:
        folder: made where it is missing.
        name: of the file that says whose folder it is; it is written with the first measurement.
        what: of which this is one, for an error: `"studies"`.
        identity: everything that all measurements depend on, as JSON values.

    Raises:
        BadInput: a folder that cannot be made, or that holds measurements of something else.
    """

    def __init__(self, folder: str | Path, name: str, what: str, identity: Mapping[str, Any]) -> None:
        self.root = writable_folder(folder, ("measured",))
        self._identity, self._file = identity, self.root / name
        if self._file.exists():
            check_same(self.root, what, read_json(self._file), identity)

    def kept(self, what: str, key: Mapping[str, Any], measure: Callable[[], Any]) -> Any:
        """What `measure` returns, JSON values, measured only if it is not in the folder yet.

        Args:
            what: the kind of measurement.
            key: everything that it depends on besides the identity.
            measure: called if need be.
        """
        if not self.has(what, key):
            self.put(what, key, measure())
        return self.get(what, key)

    def has(self, what: str, key: Mapping[str, Any]) -> bool:
        """Whether this measurement is in the folder."""
        return self._path(what, key).exists()

    def get(self, what: str, key: Mapping[str, Any]) -> Any:
        """A measurement that is in the folder."""
        return read_json(self._path(what, key))["value"]

    def put(self, what: str, key: Mapping[str, Any], value: Any) -> None:
        """Keep a measurement."""
        if not self._file.exists():
            write_json(self._file, self._identity)
        write_json(self._path(what, key), {"what": what, "key": as_json(key), "value": as_json(value)})

    def _path(self, what: str, key: Mapping[str, Any]) -> Path:
        return self.root / "measured" / f"{what.replace(' ', '_')}-{digest(key)}.json"


def digest(key: Mapping[str, Any]) -> str:
    """Twelve hexadecimal digits that tell keys apart."""
    return hashlib.sha256(json.dumps(as_json(key), sort_keys=True).encode()).hexdigest()[:12]


def versions() -> dict[str, str]:
    """Of the packages that measurements depend on."""
    return {name: version(name) for name in ("keras", "keras-taylor", "tensorflow")}
