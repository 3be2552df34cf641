"""`Study`: what a study found. Tables, words and figure are functions of the stored numbers, and of nothing else."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any

import tensorflow as tf
from rich.table import Table
from typing_extensions import Self

from keras_taylor._output.figures import write_figure
from keras_taylor._output.files import write_text
from keras_taylor._output.results import StoredResult
from keras_taylor._output.run_dir import as_json
from keras_taylor.studies import _baseline_shown, _blend_shown, _correlation_shown, _disagree_shown, _grid_shown, _obd_shown
from keras_taylor.studies._study_table import StudyTable

# Each has TITLE, SIZE (of the figure, in inches), tables(settings, values), answer(settings, values), draw(figure, values).
_SHOWN: dict[str, ModuleType] = {
    "baseline": _baseline_shown,
    "blend": _blend_shown,
    "correlation": _correlation_shown,
    "disagree": _disagree_shown,
    "grid": _grid_shown,
    "obd": _obd_shown,
}


def environment() -> str:
    """What the numbers of this process are measured with."""
    packages = ", ".join(f"{name} {version(name)}" for name in ("tensorflow", "keras", "keras-taylor"))
    device = "GPU" if tf.config.list_physical_devices("GPU") else "CPU"
    return f"python {platform.python_version()}, {packages}; {device}; {platform.system()} {platform.machine()}"


@dataclass(frozen=True)
class Study(StoredResult):
    """What a study found: `kt.studies.Study.load("runs/blend.json")` has the tables, the answer and the figure again.

    Attributes:
        name: of the study, and of its files.
        settings: model, data and options, as JSON values.
        values: every measured number, as JSON values.
        environment: what they were measured with.
    """

    name: str
    settings: Mapping[str, Any]
    values: Mapping[str, Any]
    environment: str = field(default_factory=environment)

    kind = "A study"

    def __post_init__(self) -> None:
        # As they are read back from a file: a study equals itself loaded.
        object.__setattr__(self, "settings", as_json(self.settings))
        object.__setattr__(self, "values", as_json(self.values))

    @property
    def title(self) -> str:
        """The study and the model, in words."""
        return f"{self._shown.TITLE}: {self.settings['model']}"

    @property
    def tables(self) -> list[StudyTable]:
        """What was found, in tables."""
        found: list[StudyTable] = self._shown.tables(self.settings, self.values)
        return found

    @property
    def answer(self) -> list[str]:
        """What was found, in words that follow from the numbers."""
        found: list[str] = self._shown.answer(self.settings, self.values)
        return found

    def figure(self, path: str | Path) -> None:
        """Write the figure; the suffix of `path` decides the format.

        Raises:
            BadInput: a suffix other than .svg, .png and .pdf, or a path that cannot be written.
        """

        def draw(figure: Any) -> None:
            self._shown.draw(figure, self.values)
            figure.suptitle(self.title)

        write_figure(path, draw, self._shown.SIZE)

    def parts(self) -> Sequence[Table | str]:
        """Title, tables with their captions, and the answer."""
        tables = [part for one in self.tables for part in (one.caption, one.to_rich())]
        return [self.title, *tables, *self.answer]

    def to_markdown(self) -> str:
        """The page that `save` writes: title, answer, figure, tables, settings."""
        settings = ", ".join(f"{name}={value}" for name, value in self.settings.items())
        parts = [f"# {self.title}", *self.answer, f"![{self.title}]({self.name}.png)"]
        parts += [one.to_markdown() for one in self.tables]
        return "\n\n".join([*parts, f"Settings: {settings}. {self.environment}."]) + "\n"

    def save(self, folder: str | Path) -> None:
        """Write `NAME.json`, `NAME.md` and `NAME.png` into a folder; the first one holds the study, and `load` reads it.

        Raises:
            BadInput: nothing can be written there.
        """
        folder = Path(folder)
        self.figure(folder / f"{self.name}.png")
        write_text(folder / f"{self.name}.md", self.to_markdown())
        write_text(folder / f"{self.name}.json", self.to_json())

    def fields(self) -> dict[str, Any]:
        """Name, settings, environment and values."""
        return {"study": self.name, "settings": self.settings, "environment": self.environment, "values": self.values}

    @classmethod
    def from_fields(cls, fields: dict[str, Any]) -> Self:
        """The study that `fields` describes."""
        made = cls(fields["study"], fields["settings"], fields["values"], fields["environment"])
        made.to_markdown()  # a study with other numbers than its name promises is none
        return made

    @property
    def _shown(self) -> ModuleType:
        return _SHOWN[self.name]
