"""A `.tflite` file as a value: its content, and what it was made of."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rich.table import Table

from keras_taylor._output.deprecations import renamed_attributes
from keras_taylor._output.files import write_atomically
from keras_taylor._output.results import Result
from keras_taylor._output.tables import table
from keras_taylor._plan.pruning_plan import PruningPlan
from keras_taylor._quantize.agreement import OutputCheck
from keras_taylor.litert import LiteModel
from keras_taylor.litert._device import device_name
from keras_taylor.litert._flatbuffer import float_operations, note_in, with_note
from keras_taylor.quantizers import Quantizer


@renamed_attributes(bytes="size")
@dataclass(frozen=True, eq=False)
class TFLiteFile(Result):
    """What `kt.quantize` and `kt.export_tflite` return: a file that was checked, in memory and, once saved, on disk.

    Attributes:
        content: the bytes of the file.
        quantizer: its precision.
        model: the Keras model that it stands for: for `Int8QAT` a copy with the trained weights, of a model of half
            precision its copy in float32, otherwise the model itself.
        max_relative_error: largest difference between the file's outputs, run by LiteRT, and this model's, relative to the
            largest magnitude of an output. On calibration or training examples where there are any, else on random inputs.
        inputs: names of the file's inputs, in the model's order.
        checks: the outputs one by one, and their channels, each relative to its own range.
        path: where it was saved; None before that.
        weights: for `Int8QAT`, which weights were kept, and by what; else empty.
    """

    content: bytes
    quantizer: Quantizer
    model: Any
    max_relative_error: float
    inputs: tuple[str, ...]
    checks: tuple[OutputCheck, ...] = ()
    path: Path | None = None
    weights: str = ""

    @property
    def size(self) -> int:
        """The length of the file in bytes."""
        return len(self.content)

    @cached_property
    def float_operations(self) -> dict[str, int]:
        """How many operations of each kind the file computes in float32."""
        return float_operations(self.content)

    @cached_property
    def batch_size(self) -> int | None:
        """How many examples the file takes at a time, no more and no less; None for any number."""
        return self.lite().batch_size

    @cached_property
    def note(self) -> dict[str, Any]:
        """What the file says about itself: model, quantizer, versions, processor, plan's hash; empty before it is saved."""
        return note_in(self.content) or {}

    def lite(self, threads: int = 1) -> LiteModel:
        """The file in LiteRT, to be called like a function."""
        return LiteModel(self.content, self.inputs, threads)

    def save(self, path: str | Path, *, plan: PruningPlan | None = None) -> TFLiteFile:
        """Write the file, at once or not at all, with a note inside that `kt.litert.read_note` reads.

        Args:
            path: the file to write; its folder must exist.
            plan: what was pruned; its hash goes into the note.

        Returns:
            The same file with its path and with the note in it.

        Raises:
            BadInput: nothing can be written at `path`.

        Example:
            >>> import keras, tempfile, pathlib, keras_taylor as kt
            >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)], name="tiny")
            >>> file = kt.quantize(model, "float16").save(pathlib.Path(tempfile.mkdtemp()) / "tiny.tflite")
            >>> file.path.name, file.note["quantizer"]
            ('tiny.tflite', 'float16')
        """
        content = self.content if self.note and plan is None else with_note(self.content, self._described(plan))
        write_atomically(path, lambda part: Path(part).write_bytes(content))
        return replace(self, content=content, path=Path(path))

    def parts(self) -> Sequence[Table | str]:
        """A table."""
        made = table(f"{self.model.name} as a .tflite file", ("", "value"))
        made.add_row("precision", self.quantizer.name)
        made.add_row("bytes", f"{self.size:,}")
        made.add_row("batch size", str(self.batch_size or "any"))
        made.add_row("largest relative error", f"{self.max_relative_error:.1e}")
        if self.weights:
            made.add_row("weights", self.weights)
        for check in self.checks:
            made.add_row(f"of output {check.name}", str(check))
        in_float = ", ".join(f"{count} {kind}" for kind, count in self.float_operations.items())
        made.add_row("computed in float32", in_float or "nothing")
        if self.path is not None:
            made.add_row("path", str(self.path))
        return [made]

    def _described(self, plan: PruningPlan | None) -> dict[str, Any]:
        return {
            "model": self.model.name,
            "quantizer": self.quantizer.name,
            "batch_size": self.batch_size,
            **({"weights": self.weights} if self.weights else {}),
            "device": device_name(),  # which ran the check
            "check": [check.noted() for check in self.checks],
            "plan": None if plan is None else hashlib.sha256(plan.to_json().encode()).hexdigest(),
            "versions": {name: version(name) for name in ("keras", "keras-taylor", "tensorflow")}
            | {"python": platform.python_version()},
        }

    def __repr__(self) -> str:
        return f"<TFLiteFile: {self.model.name!r}, {self.quantizer.name}, {self.size:,} bytes>"
