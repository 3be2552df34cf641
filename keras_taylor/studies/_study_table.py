"""`StudyTable`: a table of a study, as text for every medium."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.table import Table

from keras_taylor._output.tables import table, to_markdown


@dataclass(frozen=True)
class StudyTable:
    """A table of a study.

    Attributes:
        caption: what it shows, and how it was measured.
        header: names of the columns.
        rows: of cells, as they are printed; the first one is a name.

    Example:
        >>> print(StudyTable("Two numbers.", ["net", "accuracy"], [["a", "0.9"]]).to_markdown())
        Two numbers.
        <BLANKLINE>
        | net | accuracy |
        | --- | ---: |
        | a | 0.9 |
    """

    caption: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]

    def to_rich(self) -> Table:
        """The table without its caption, the first column aligned to the left and the others to the right."""
        made = table("", [self.header[0], *(f"{name}>" for name in self.header[1:])])
        for row in self.rows:
            made.add_row(*row)
        return made

    def to_markdown(self) -> str:
        """Caption and table."""
        return f"{self.caption}\n\n{to_markdown(self.to_rich())}"
