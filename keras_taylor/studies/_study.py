"""`Study`: what a study found, as tables, words, JSON and a figure."""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import tensorflow as tf

from keras_taylor._output.figures import write_figure
from keras_taylor._output.files import write_text
from keras_taylor._output.run_dir import as_json, write_json
from keras_taylor._output.tables import render, table


@dataclass(frozen=True)
class StudyTable:
    """A table of a study.

    Attributes:
        caption: what it shows, and how it was measured.
        header: names of the columns.
        rows: of cells, as they are printed; the first one is a name.
    """

    caption: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]

    def to_markdown(self) -> str:
        """Caption and table."""
        lines = [self.header, ["---", *["---:"] * (len(self.header) - 1)], *self.rows]
        return "\n".join([self.caption, "", *(f"| {' | '.join(line)} |" for line in lines)])


@dataclass(frozen=True)
class Study:
    """What a study found.

    Attributes:
        name: of the study, and of its files.
        title: in words.
        settings: model, data and options.
        values: every measured number, as JSON values.
        tables: what was found, in tables.
        answer: and in words, computed from the numbers.
    """

    name: str
    title: str
    settings: Mapping[str, Any]
    values: Mapping[str, Any]
    tables: Sequence[StudyTable]
    answer: Sequence[str]
    _draw: Callable[[Any], None] = field(repr=False, compare=False)

    def figure(self, path: str | Path) -> None:
        """Write the figure; the suffix of `path` decides the format.

        Raises:
            BadInput: a suffix other than .svg, .png and .pdf, or a path that cannot be written.
        """
        write_figure(path, self._draw, (9, 6))

    def to_markdown(self) -> str:
        """Title, answer, tables, settings."""
        settings = ", ".join(f"{name}={value}" for name, value in self.settings.items())
        parts = [f"# {self.title}", *self.answer, f"![{self.title}]({self.name}.svg)"]
        parts += [one.to_markdown() for one in self.tables]
        return "\n\n".join([*parts, f"Settings: {settings}. {environment()}."]) + "\n"

    def save(self, folder: str | Path) -> None:
        """Write `NAME.json`, `NAME.md` and `NAME.svg` into a folder."""
        folder = Path(folder)
        self.figure(folder / f"{self.name}.svg")
        write_text(folder / f"{self.name}.md", self.to_markdown())
        content = {"study": self.name, "settings": self.settings, "environment": environment(), "values": self.values}
        write_json(folder / f"{self.name}.json", as_json(content))

    def __str__(self) -> str:
        parts = []
        for one in self.tables:
            made = table("", [one.header[0], *(f"{name}>" for name in one.header[1:])], one.caption)
            for row in one.rows:
                made.add_row(*row)
            parts.append(render(made))
        return "\n".join([self.title, *parts, *self.answer])


def environment() -> str:
    """What the numbers were measured with."""
    packages = ", ".join(f"{name} {version(name)}" for name in ("tensorflow", "keras", "keras-taylor"))
    device = "GPU" if tf.config.list_physical_devices("GPU") else "CPU"
    return f"python {platform.python_version()}, {packages}; {device}; {platform.system()} {platform.machine()}"
