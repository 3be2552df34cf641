"""Pages: Markdown made of the stored rows and of nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from keras_taylor._output import tables


@dataclass(frozen=True)
class Picture:
    """A figure of a page.

    Attributes:
        name: of its file, beside the page.
        text: what it shows.
        write: writes it to a path.
    """

    name: str
    text: str
    write: Callable[[Path], None]


Part = str | Picture
Row = dict[str, Any]


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table; the first column is aligned to the left, the others to the right."""
    made = tables.table("", [header[0], *(f"{name}>" for name in header[1:])])
    for row in rows:
        made.add_row(*map(shown, row))
    return tables.to_markdown(made)


def grouped(rows: Iterable[Row], *names: str) -> list[tuple[Any, list[Row]]]:
    """The rows in groups of equal values of these names: the value (a tuple of several), and the rows."""
    found: dict[Any, list[Row]] = {}
    for row in rows:
        found.setdefault(row[names[0]] if len(names) == 1 else tuple(row[name] for name in names), []).append(row)
    return list(found.items())


def shown(value: object) -> str:
    """A cell of a table: four digits of a float, commas in a whole number, nothing for None."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def mean_and_deviation(values: Sequence[float], digits: int = 3) -> str:
    """`0.877 ± 0.011`: the mean and the standard deviation; the value alone where there is one, or where all are equal."""
    found = np.asarray(values, float)
    if not len(found):
        return ""
    spread = f" ± {found.std(ddof=1):.{digits}f}" if len(found) > 1 and found.std() > 0 else ""
    return f"{found.mean():.{digits}f}{spread}"


def whole_page(title: str, introduction: Sequence[str], parts: Iterable[Part], folder: Path, *footer: str) -> str:
    """The text of a page; pictures are written into the folder."""
    texts: list[Any] = [f"# {title}", *introduction]
    for part in parts:
        if isinstance(part, Picture):
            part.write(folder / part.name)
            part = f"![{part.text}]({part.name})"
        texts.append(part)
    return "\n\n".join([*texts, *footer]) + "\n"
