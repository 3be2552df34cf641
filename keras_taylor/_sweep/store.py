"""The folder of a sweep: what was swept, the pruned models, and one file per finished row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from keras_taylor._keras.identity import identity_of
from keras_taylor._output.optional import version_of
from keras_taylor._output.run_dir import as_json, check_same, read_json, writable_folder, write_json
from keras_taylor._sweep.rows import SweepRow
from keras_taylor._trace.graph import ChannelGraph
from keras_taylor.errors import BadInput
from keras_taylor.quantizers import Quantizer


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
        self.root = writable_folder(folder, ("rows", "files", "models"))
        self._identify(as_json(identity))

    def _identify(self, identity: dict[str, Any]) -> None:
        path = self.root / "sweep.json"
        if path.exists():
            stored = read_json(path)
            common = set(stored["quantizers"]) & set(identity["quantizers"])
            check_same(self.root, "a sweep", *(_with(one, common) for one in (stored, identity)))
            identity["quantizers"] = stored["quantizers"] | identity["quantizers"]
        write_json(path, identity)

    def row(self, key: str) -> SweepRow | None:
        """The stored row, if it is finished."""
        path = self.root / "rows" / f"{key}.json"
        if not path.exists():
            return None
        try:
            return SweepRow(**read_json(path))
        except TypeError as error:
            raise BadInput(f"A row must be as this version writes it. Received: {str(path)!r} ({error}). Delete it.") from None

    def store(self, key: str, row: SweepRow) -> None:
        """Write the row, at once or not at all."""
        write_json(self.root / "rows" / f"{key}.json", asdict(row))

    def file(self, key: str) -> Path:
        """Where the file of a row goes."""
        return self.root / "files" / f"{key}.tflite"

    def model(self, target: float, seed: int) -> Path:
        """Where the pruned model of a target and a seed goes, with its plan and its report."""
        folder = self.root / "models" / f"macs{target!r}-seed{seed}"
        folder.mkdir(exist_ok=True)
        return folder / "model.keras"


def _with(identity: Mapping[str, Any], quantizers: set[str]) -> dict[str, Any]:
    """The identity with these quantizers only."""
    return {**identity, "quantizers": {name: value for name, value in identity["quantizers"].items() if name in quantizers}}


_PACKAGES = ("ai-edge-litert", "keras", "keras-taylor", "tensorflow", "tensorflow-model-optimization")


def identity_of_sweep(
    graph: ChannelGraph, data: Mapping[str, Any], settings: Mapping[str, Any], quantizers: Sequence[Quantizer]
) -> dict[str, Any]:
    """All that must be equal for stored rows to be of the same sweep."""
    return {
        **identity_of(graph.model, graph.fingerprint, data, settings),
        "quantizers": {quantizer.name: quantizer.identity() for quantizer in quantizers},
        "versions": {name: version_of(name) for name in _PACKAGES},
    }
