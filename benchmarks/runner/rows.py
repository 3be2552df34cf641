"""Stored rows: `NAME.jsonl`, one row a line, and `environments.jsonl`, what rows were measured with."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.runner.cells import Cell, same
from benchmarks.runner.registry import Row
from keras_taylor._output.files import write_text
from keras_taylor.errors import BadInput


class Rows:
    """The rows of one file; what is put is on the disk at once, so that a run that is stopped loses nothing.

    Args:
        path: of the file; it need not exist.

    Raises:
        BadInput: the file holds something else.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
            self._rows: list[Row] = [json.loads(line) for line in lines]
        except ValueError as error:
            raise BadInput(f"{path.name} must hold one JSON object a line. Received: {error}. Move it away.") from None

    def __iter__(self) -> Iterator[Row]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)

    def of(self, cell: Cell) -> Row | None:
        """The row of a cell, if it is stored."""
        return next((row for row in self._rows if same(row, cell)), None)

    def put(self, cell: Cell, row: Row) -> Row:
        """Store the row of a cell, in place of an older one, and return it as it is stored."""
        whole = json.loads(json.dumps(cell | row, default=_plain, allow_nan=False))
        places = [number for number, old in enumerate(self._rows) if same(old, cell)]
        if places:
            self._rows[places[0]] = whole
        else:
            self._rows.append(whole)
        self._path.parent.mkdir(parents=True, exist_ok=True)
        write_text(self._path, "".join(f"{json.dumps(one, ensure_ascii=False)}\n" for one in self._rows))
        return whole


def _plain(value: Any) -> Any:
    """NumPy's numbers and arrays as Python's."""
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"A row must hold JSON values. Received: {value!r}.")
