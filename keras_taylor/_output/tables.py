"""Tables as text for the terminal, as Markdown, and as HTML for notebooks."""

from __future__ import annotations

import html
import io
import shutil
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table


def table(title: str, columns: Sequence[str], caption: str = "") -> Table:
    """An empty table; a column whose name ends with `>` is aligned to the right."""
    made = Table(title=title or None, caption=caption or None, title_justify="left", caption_justify="left")
    for column in columns:
        made.add_column(column.rstrip(">"), justify="right" if column.endswith(">") else "left", overflow="fold")
    return made


def render(made: Table) -> str:
    """The table as plain text, as wide as the terminal (120 columns where there is none)."""
    width = shutil.get_terminal_size((120, 24)).columns
    stream = io.StringIO()
    Console(file=stream, width=width, color_system=None, markup=False, highlight=False).print(made)
    return stream.getvalue()


def to_markdown(made: Table) -> str:
    """Title, table and caption as Markdown."""
    lines = [_names(made), ["---:" if column.justify == "right" else "---" for column in made.columns], *_rows(made)]
    rows = "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)
    return "\n\n".join(part for part in (_text(made.title), rows, _text(made.caption)) if part)


def to_html(made: Table) -> str:
    """The table as HTML; names are text, whatever they hold."""
    align = [f' style="text-align:{column.justify}"' for column in made.columns]
    head = "".join(f"<th{how}>{html.escape(name)}</th>" for name, how in zip(_names(made), align, strict=True))
    rows = ("".join(f"<td{how}>{html.escape(cell)}</td>" for cell, how in zip(row, align, strict=True)) for row in _rows(made))
    body = "".join(f"<tr>{row}</tr>" for row in rows)
    below = f"<p>{html.escape(_text(made.caption))}</p>" if made.caption else ""
    title = f"<caption>{html.escape(_text(made.title))}</caption>" if made.title else ""
    return f"<table>{title}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{below}"


def _names(made: Table) -> list[str]:
    return [_text(column.header) for column in made.columns]


def _rows(made: Table) -> list[tuple[str, ...]]:
    return list(zip(*([_text(cell) for cell in column.cells] for column in made.columns), strict=True))


def _text(value: object) -> str:
    return "" if value is None else str(value)
