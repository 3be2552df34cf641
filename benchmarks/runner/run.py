"""Measuring cells, storing rows, checking goals, and writing pages."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from benchmarks.runner import environment
from benchmarks.runner.cells import Cell, commands
from benchmarks.runner.page import Part, shown, table, whole_page
from benchmarks.runner.registry import ROOT, Benchmark, Row
from benchmarks.runner.rows import Rows
from keras_taylor._output.files import write_text

tf.get_logger().setLevel("ERROR")  # benchmarks retrace on purpose

RESULTS = ROOT.parent / "docs" / "results"


def run(benchmark: Benchmark, cells: Sequence[Cell], folder: Path = RESULTS, again: bool = False) -> list[Row]:
    """Measure the cells that are not stored yet, store each at once, and write the page.

    Args:
        benchmark: the one to run.
        cells: see `cells_of`.
        folder: of stored rows and pages.
        again: also measure what is stored.

    Returns:
        The rows of the cells that miss the goal.
    """
    here, rows = environment.here(), Rows(folder / f"{benchmark.name}.jsonl")
    print(environment.text(here), flush=True)
    todo = [cell for cell in cells if again or rows.of(cell) is None]
    print(f"{benchmark.name}: {len(cells)} cells, {len(cells) - len(todo)} of them stored", flush=True)
    for number, cell in enumerate(todo, 1):
        print(f"{number} of {len(todo)}: {_line(cell)}", flush=True)
        forget_models()
        keras.utils.set_random_seed(int(cell.get("seed", 0)))
        start = time.perf_counter()
        row = benchmark.measure(**cell)
        if repeated := set(row) & {*cell, "environment"}:
            raise TypeError(f"A row must not repeat names of its cell. Received: {sorted(repeated)} from {benchmark.name}.")
        stored = rows.put(cell, row | {"environment": environment.stored(folder, here)})
        print(f"    {_line({name: stored[name] for name in row})} ({time.perf_counter() - start:.0f} s)", flush=True)
    render(benchmark, folder)
    found = [row for cell in cells if (row := rows.of(cell)) is not None]
    return [row for row in found if benchmark.goal is not None and not benchmark.goal.met(row)]


def forget_models() -> None:
    """Models of the cells before take no memory, and give no name to those that follow; slow where a process is large."""
    keras.utils.clear_session()


def render(benchmark: Benchmark, folder: Path = RESULTS, to: Path | None = None) -> Path | None:
    """Write the page from the stored rows, into another folder if one is given; None where there are no rows."""
    rows = list(Rows(folder / f"{benchmark.name}.jsonl"))
    if not rows:
        return None
    to = to or folder
    parts = plain_page(benchmark, rows) if benchmark.page is None else benchmark.page(rows)
    made = " and ".join(f"`{command}`" for command in commands(benchmark, rows))
    measured = ". ".join(environment.described(folder, {row["environment"] for row in rows}))
    path = to / f"{benchmark.name}.md"
    footer = f"Made by {made}. {measured}."
    write_text(path, whole_page(benchmark.title, benchmark.introduction, parts, to, footer))
    return path


def plain_page(benchmark: Benchmark, rows: list[Row]) -> list[Part]:
    """One table; names whose values are the same in all rows stand in a line above it."""
    names = [name for name in dict.fromkeys(name for row in rows for name in row) if name != "environment"]
    same = {name for name in benchmark.cells if all(row[name] == rows[0][name] for row in rows)} if len(rows) > 1 else set()
    columns = [name for name in names if name not in same]
    header = [name.replace("_", " ") for name in columns]
    lines = [[_flat(row.get(name)) for name in columns] for row in rows]
    if benchmark.goal is not None:
        header.append(benchmark.goal.text)
        lines = [[*line, benchmark.goal.met(row)] for line, row in zip(lines, rows, strict=True)]
    common = ", ".join(f"{name.replace('_', ' ')} {shown(rows[0][name])}" for name in benchmark.cells if name in same)
    return [*([f"In all rows: {common}."] if common else []), table(header, lines)]


def _flat(value: Any) -> Any:
    if isinstance(value, dict):
        return ", ".join(f"{name} {shown(one)}" for name, one in value.items())
    return ", ".join(map(shown, value)) if isinstance(value, list) else value


def _line(values: Row) -> str:
    return ", ".join(f"{name} {shown(_flat(value))}" for name, value in values.items())
