"""What was timed once is not timed again: a file per device in the user's cache folder."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

import platformdirs

from keras_taylor._output.files import write_text
from keras_taylor.litert._device import device_name


def cache_folder() -> Path:
    """`$KERAS_TAYLOR_CACHE`, or `keras_taylor` in the user's cache folder."""
    given = os.environ.get("KERAS_TAYLOR_CACHE")
    return Path(given) if given else platformdirs.user_cache_path("keras_taylor")


class Cache:
    """Seconds by recipe, for one device, number of threads, precision and version of LiteRT and of the converter.

    A folder that cannot be written to is no error: then the times are taken anew in the next run.
    """

    def __init__(self, threads: int, precision: str) -> None:
        versions = {name: version(name) for name in ("ai-edge-litert", "tensorflow")}
        self._facts = {"device": device_name(), "threads": threads, "precision": precision, **versions}
        self.path = cache_folder() / f"latency-{_hash(json.dumps(self._facts))}.json"

    def load(self) -> dict[str, float]:
        """What is stored."""
        try:
            found = json.loads(self.path.read_text(encoding="utf-8"))["seconds"]
            return {str(key): float(seconds) for key, seconds in found.items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return {}

    def add(self, seconds: Mapping[str, float]) -> None:
        """Store more; what another process has added meanwhile stays."""
        text = json.dumps({**self._facts, "seconds": {**self.load(), **seconds}}, indent=1)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            write_text(self.path, text)
        except (OSError, ValueError):
            return

    @staticmethod
    def key(recipe: str) -> str:
        """A short name of a recipe."""
        return _hash(recipe)


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:24]
