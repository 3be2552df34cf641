"""`python -m benchmarks list`, `run NAME`, `render [NAME ...]`."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.runner import nets
from benchmarks.runner.cells import cells_of, parsed
from benchmarks.runner.registry import Benchmark, named, names
from benchmarks.runner.rows import Rows
from benchmarks.runner.run import RESULTS, render, run
from keras_taylor.errors import KerasTaylorError
from keras_taylor.studies import Study

STUDIES = RESULTS.parent / "studies"


def main(arguments: Sequence[str]) -> int:
    """Do what the command line says; the exit code is 1 if a goal is missed or an argument is wrong."""
    parser = argparse.ArgumentParser("python -m benchmarks", description="Run benchmarks, and make their pages.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="all benchmarks, and how many of their cells are stored")
    runs = commands.add_parser("run", help="measure what is not stored; `run NAME --help` shows the options", add_help=False)
    runs.add_argument("name", help="of a benchmark")
    renders = commands.add_parser("render", help="make pages and figures from what is stored")
    renders.add_argument("names", nargs="*", metavar="NAME", help="benchmarks, or studies; all by default")
    renders.add_argument("--results", type=Path, default=RESULTS, metavar="DIR", help="folder of rows and pages")
    given, rest = parser.parse_known_args(arguments)
    if rest and given.command != "run":
        parser.error(f"unknown arguments: {' '.join(rest)}")
    try:
        if given.command == "list":
            return _list()
        if given.command == "render":
            return _render(given.names, given.results)
        return _run(named(given.name), rest)
    except KerasTaylorError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def _list() -> int:
    for name in names():
        one = named(name)
        rows = Rows(RESULTS / f"{name}.jsonl")
        cells = cells_of(one, {})
        stored = sum(rows.of(cell) is not None for cell in cells)
        goal = f"; goal: {one.goal.text}" if one.goal else ""
        print(f"{name:24}{stored:4} of {len(cells):3} cells stored  {one.title}{goal}")
    return 0


def _render(asked: Sequence[str], folder: Path) -> int:
    for name in asked or [*names(), "studies"]:
        if name == "studies":
            for path in sorted(STUDIES.glob("*/*.json")):
                Study.load(path).save(path.parent)
                print(f"wrote {path.parent.name}/{path.stem}.md and .png")
            continue
        path = render(named(name), folder)
        print(f"wrote {path.name}" if path else f"{name}: no rows")
    return 0


def _run(benchmark: Benchmark, arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(f"python -m benchmarks run {benchmark.name}", description=benchmark.title)
    for name, values in benchmark.cells.items():
        text = f"default: {' '.join(map(str, values[:8]))}{' ...' * (len(values) > 8)}"
        parser.add_argument(f"--{name.replace('_', '-')}", nargs="+", metavar="VALUE", help=text)
    if "seed" in benchmark.cells:
        parser.add_argument("--seeds", type=int, metavar="COUNT", help="the seeds 0, 1, ..., so many")
    parser.add_argument("--only", nargs="+", default=[], metavar="CELL", help="cells with all of these: VALUE or NAME=VALUE")
    parser.add_argument("--again", action="store_true", help="measure what is stored, too")
    parser.add_argument("--weights", metavar="DIR", help=f"folder of the weights of nets.toml (or {nets.WEIGHTS})")
    parser.add_argument("--data", metavar="DIR", help=f"folder of the images of nets.toml (or {nets.DATA})")
    parser.add_argument("--results", type=Path, default=RESULTS, metavar="DIR", help="folder of rows and pages")
    given = parser.parse_args(arguments)
    for variable, folder in ((nets.WEIGHTS, given.weights), (nets.DATA, given.data)):
        if folder:
            os.environ[variable] = str(Path(folder).resolve())
    asked = {
        name: [parsed(benchmark, name, one) for one in values]
        for name in benchmark.cells
        if (values := getattr(given, name)) is not None
    }
    if getattr(given, "seeds", None):
        asked["seed"] = list(range(given.seeds))
    missed = run(benchmark, cells_of(benchmark, asked, given.only), given.results, given.again)
    for row in missed:
        cell = ", ".join(f"{name} {row[name]}" for name in benchmark.cells)
        print(f"missed: {benchmark.goal.text}: {cell}", file=sys.stderr)
    return int(bool(missed))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
