"""Tables as text, as wide as the terminal that will show them."""

from __future__ import annotations

import io
import shutil
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table


def table(title: str, columns: Sequence[str], caption: str = "") -> Table:
    """An empty table; a column whose name ends with `>` is aligned to the right."""
    made = Table(title=title, caption=caption or None, title_justify="left", caption_justify="left")
    for column in columns:
        made.add_column(column.rstrip(">"), justify="right" if column.endswith(">") else "left", overflow="fold")
    return made


def render(made: Table) -> str:
    """The table as plain text, as wide as the terminal (120 columns where there is none)."""
    width = shutil.get_terminal_size((120, 24)).columns
    stream = io.StringIO()
    Console(file=stream, width=width, color_system=None, markup=False, highlight=False).print(made)
    return stream.getvalue()
