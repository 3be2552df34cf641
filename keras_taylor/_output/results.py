"""What all results have in common: they print themselves, notebooks show them, and some are files with a format version."""

from __future__ import annotations

import html
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from rich.table import Table
from typing_extensions import Self

from keras_taylor._output.files import as_path, write_text
from keras_taylor._output.tables import render, to_html, to_markdown
from keras_taylor.errors import BadInput, unknown_name


class Result(ABC):
    """A result that shows itself: `print(result)`, `result.render("markdown")`, or as the last line of a notebook's cell."""

    @abstractmethod
    def parts(self) -> Sequence[Table | str]:
        """What is shown: tables, and paragraphs of text."""

    def render(self, form: str = "text") -> str:
        """The result as `"text"` for a terminal, `"markdown"`, or `"html"`.

        Raises:
            UnknownName: another form.
        """
        forms: dict[str, tuple[Callable[[Table], str], Callable[[str], str], str]] = {
            "text": (render, str, "\n"),
            "markdown": (to_markdown, str, "\n\n"),
            "html": (to_html, lambda text: f"<p>{html.escape(text)}</p>", ""),
        }
        if form not in forms:
            raise unknown_name("form", form, forms)
        of_table, of_text, between = forms[form]
        return between.join(of_text(part) if isinstance(part, str) else of_table(part) for part in self.parts())

    def print(self) -> None:
        """The same as `print(result)`."""
        print(self)

    def __str__(self) -> str:
        return self.render()

    def _repr_html_(self) -> str:
        return self.render("html")


class StoredResult(Result):
    """A result that is also a JSON file with a format version.

    Attributes:
        kind: what errors call it.
        version: of the format; files of another one are refused.
    """

    kind: ClassVar[str]
    version: ClassVar[int] = 1

    @abstractmethod
    def fields(self) -> Mapping[str, Any]:
        """All that the file holds, as JSON values."""

    @classmethod
    @abstractmethod
    def from_fields(cls, fields: dict[str, Any]) -> Self:
        """The result that `fields` describes."""

    def to_json(self) -> str:
        """The result as JSON text, with its format version."""
        return _text({"format": self.version, **self.fields()})

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The result that `to_json` wrote.

        Raises:
            BadInput: the text is something else, or of another format.
        """
        fields = read_version(cls, text)
        try:
            return cls.from_fields(fields)
        except (KeyError, TypeError, AttributeError) as error:
            raise not_ours(cls, error) from None

    def save(self, path: str | Path) -> None:
        """Write JSON to `path`, at once or not at all.

        Raises:
            BadInput: nothing can be written at `path`.
        """
        write_text(path, self.to_json())

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read what `save` wrote.

        Raises:
            BadInput: there is no such file, or it holds something else, or another format.
        """
        return cls.from_json(read_file(cls, path))


def read_file(kind: type[StoredResult], path: str | Path) -> str:
    """The text of a file in which a result should be."""
    try:
        return as_path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"{kind.kind} must be in a file that can be read. Received: {str(path)!r} ({error}).") from None


def read_version(kind: type[StoredResult], text: str) -> dict[str, Any]:
    """The fields in a text of the version that `kind` reads, without the version."""
    try:
        fields = json.loads(text)
        version = fields.pop("format")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise not_ours(kind, error) from None
    if version != kind.version:
        name = kind.kind[0].lower() + kind.kind[1:]
        raise BadInput(f"The format of {name} must be {kind.version}. Received: {version!r}. Update keras_taylor.")
    return dict(fields)


def not_ours(kind: type[StoredResult], error: Exception) -> BadInput:
    """The error for a text that is no result of this kind."""
    return BadInput(f"{kind.kind} must be JSON as {kind.__name__}.save writes it. Received: {error!r}.")


def _text(fields: Mapping[str, Any]) -> str:
    """JSON with one line for each entry of the outer two levels, so that versions of a file can be compared."""
    lines = []
    for name, value in fields.items():
        if isinstance(value, Mapping) and value:
            inner = ",\n".join(f"  {json.dumps(str(key))}: {json.dumps(one, default=str)}" for key, one in value.items())
            lines.append(f" {json.dumps(name)}: {{\n{inner}\n }}")
        elif isinstance(value, (list, tuple)) and value and isinstance(value[0], Mapping):
            inner = ",\n".join(f"  {json.dumps(one, default=str)}" for one in value)
            lines.append(f" {json.dumps(name)}: [\n{inner}\n ]")
        else:
            lines.append(f" {json.dumps(name)}: {json.dumps(value, default=str)}")
    return "{\n" + ",\n".join(lines) + "\n}"
