"""The folder of a sweep: what was swept, the pruned models, and one file per finished row."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from keras_taylor._files import check_writable, write_atomically
from keras_taylor._sweep.rows import SweepRow
from keras_taylor.errors import BadInput


class SweepFolder:
    """A folder that belongs to one sweep.

    Args:
        folder: made if it is not there.
        identity: model, data, settings, quantizers and versions, as JSON values. A folder with another one is refused.
            Quantizers may be added; those that both name must be equal.

    Raises:
        BadInput: the folder cannot be written to, or holds something else; says what differs.
    """

    def __init__(self, folder: str | Path, identity: Mapping[str, Any]) -> None:
        self.root = Path(folder)
        try:
            for part in ("rows", "files", "models"):
                (self.root / part).mkdir(parents=True, exist_ok=True)
                check_writable(self.root / part / "any")
        except OSError as error:
            raise BadInput(f"run_dir must be a folder that can be made. Received: {str(folder)!r} ({error}).") from None
        self._identify(json.loads(json.dumps(identity, default=str)))

    def _identify(self, identity: dict[str, Any]) -> None:
        path = self.root / "sweep.json"
        if path.exists():
            stored = _read(path)
            differences = [f"{name} was {was} and is {now}" for name, was, now in _differences(stored, identity)]
            if differences:
                raise BadInput(
                    f"run_dir must hold a sweep of the same model, data and settings. Received: {str(self.root)!r}, where "
                    f"{'; '.join(differences)}. Pass another run_dir, or what it was started with."
                )
            identity["quantizers"] = stored["quantizers"] | identity["quantizers"]
        _write(path, identity)

    def row(self, key: str) -> SweepRow | None:
        """The stored row, if it is finished."""
        path = self.root / "rows" / f"{key}.json"
        if not path.exists():
            return None
        try:
            return SweepRow(**_read(path))
        except TypeError as error:
            raise BadInput(f"A row must be as this version writes it. Received: {str(path)!r} ({error}). Delete it.") from None

    def store(self, key: str, row: SweepRow) -> None:
        """Write the row, at once or not at all."""
        _write(self.root / "rows" / f"{key}.json", asdict(row))

    def file(self, key: str) -> Path:
        """Where the file of a row goes."""
        return self.root / "files" / f"{key}.tflite"

    def model(self, target: float, seed: int) -> Path:
        """Where the pruned model of a target and a seed goes, with its plan and its report."""
        folder = self.root / "models" / f"macs{target!r}-seed{seed}"
        folder.mkdir(exist_ok=True)
        return folder / "model.keras"


def _differences(stored: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    common = set(stored["quantizers"]) & set(now["quantizers"])
    before, after = (
        dict(_flat({**one, "quantizers": {name: value for name, value in one["quantizers"].items() if name in common}}))
        for one in (stored, now)
    )
    for name in dict.fromkeys([*before, *after]):
        if before.get(name) != after.get(name):
            was, is_now = (json.dumps(one[name]) if name in one else "absent" for one in (before, after))
            yield name, was, is_now


def _flat(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping) and value:
        for name, inner in value.items():
            yield from _flat(inner, f"{path}.{name}" if path else name)
    else:
        yield path, value


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise BadInput(f"{path.name} must be JSON. Received: {str(path)!r} ({error}). Delete it.") from None


def _write(path: Path, value: Any) -> None:
    text = json.dumps(value, indent=1)
    write_atomically(path, lambda part: Path(part).write_text(text, encoding="utf-8"))
