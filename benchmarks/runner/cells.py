"""Cells: all combinations of the values that are asked for, those of them that `--only` names, and the command for them."""

from __future__ import annotations

import itertools
import math
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.runner.registry import Benchmark, Row
from keras_taylor.errors import BadInput

Cell = dict[str, Any]


def cells_of(benchmark: Benchmark, asked: Mapping[str, Sequence[Any]], only: Sequence[str] = ()) -> list[Cell]:
    """The cells to measure, the last name changing fastest.

    Args:
        benchmark: gives the values of names that are not asked for.
        asked: values by name.
        only: each is a value, or NAME=VALUE; cells that do not have all of them are left out.

    Raises:
        BadInput: no cell is left.
    """
    values = [asked.get(name, default) for name, default in benchmark.cells.items()]
    every = [dict(zip(benchmark.cells, chosen, strict=True)) for chosen in itertools.product(*values)]
    found = [cell for cell in every if all(_has(cell, one) for one in only)]
    if not found:
        raise BadInput(
            f"--only must name values of {benchmark.name}. Received: {', '.join(only)}. Known: {dict(benchmark.cells)}."
        )
    return found


def parsed(benchmark: Benchmark, name: str, text: str) -> Any:
    """A value from the command line, of the type that the default values have.

    Raises:
        BadInput: it is of another type.
    """
    kind = type(benchmark.cells[name][0])
    try:
        return kind(text)
    except ValueError:
        raise BadInput(f"--{name} must be of type {kind.__name__}. Received: {text!r}.") from None


def same(row: Row, cell: Cell) -> bool:
    """Whether the row was measured for this cell."""
    return all(row.get(name) == value for name, value in cell.items())


def commands(benchmark: Benchmark, rows: Sequence[Row]) -> list[str]:
    """The commands that measure the cells of these rows: one, or one for each value of the first name."""
    cells = {tuple(row.get(name) for name in benchmark.cells): None for row in rows}
    if len(cells) == _count(cells):
        return [_command(benchmark, list(cells))]
    first = dict.fromkeys(cell[0] for cell in cells)
    return [_command(benchmark, [cell for cell in cells if cell[0] == value]) for value in first]


def _has(cell: Cell, wanted: str) -> bool:
    name, equals, value = wanted.partition("=")
    if equals and name in cell:
        return str(cell[name]) == value
    return any(str(one) == wanted for one in cell.values())


def _count(cells: Any) -> int:
    """How many combinations there are of the values of these cells."""
    return math.prod(len(set(column)) for column in zip(*cells, strict=True))


def _command(benchmark: Benchmark, cells: Sequence[tuple[Any, ...]]) -> str:
    words = ["python", "-m", "benchmarks", "run", benchmark.name]
    for (name, default), column in zip(benchmark.cells.items(), zip(*cells, strict=True), strict=True):
        values = list(dict.fromkeys(column))
        if set(values) == set(default):
            continue
        if name == "seed" and sorted(values) == list(range(len(values))):
            words += ["--seeds", str(len(values))]
        else:
            words += [f"--{name.replace('_', '-')}", *map(str, values)]
    return shlex.join(words)
