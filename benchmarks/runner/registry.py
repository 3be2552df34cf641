"""`@benchmark`: a function that maps one cell, a value, to one row, a dict; the runner does the rest."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.runner.page import Part, Row
from keras_taylor.errors import unknown_name

ROOT = Path(__file__).resolve().parent.parent
_REGISTRY: dict[str, Benchmark] = {}


@dataclass(frozen=True)
class Goal:
    """What every row should reach; a run that misses it ends with exit code 1.

    Attributes:
        text: the goal in words.
        met: whether a row reaches it.
    """

    text: str
    met: Callable[[Row], bool]


@dataclass(frozen=True)
class Benchmark:
    """A registered function.

    Attributes:
        name: of the benchmark, of its module, and of its files in docs/results.
        measure: the function; it is called with the values of a cell by name.
        cells: names of its arguments, and the values of each that are measured by default, in all combinations.
        goal: None where nothing is promised.
        page: what the page says of all stored rows, or None for one table.
    """

    name: str
    measure: Callable[..., Row]
    cells: Mapping[str, Sequence[Any]]
    goal: Goal | None
    page: Callable[[list[Row]], Iterable[Part]] | None

    @property
    def title(self) -> str:
        """The first line of the function's docstring."""
        return inspect.getdoc(self.measure).splitlines()[0].rstrip(".")

    @property
    def introduction(self) -> list[str]:
        """The other paragraphs of the docstring."""
        return [" ".join(part.split()) for part in inspect.getdoc(self.measure).split("\n\n")[1:]]


def benchmark(
    name: str,
    *,
    cells: Mapping[str, Sequence[Any]],
    goal: Goal | None = None,
    page: Callable[[list[Row]], Iterable[Part]] | None = None,
) -> Callable[[Callable[..., Row]], Callable[..., Row]]:
    """Register a benchmark; see `Benchmark` for the arguments. The function stays what it is."""

    def register(function: Callable[..., Row]) -> Callable[..., Row]:
        if list(inspect.signature(function).parameters) != list(cells):
            raise TypeError(f"The arguments of {name} must be the names of its cells. Received: {list(cells)}.")
        _REGISTRY[name] = Benchmark(name, function, cells, goal, page)
        return function

    return register


def names() -> list[str]:
    """The benchmarks there are: modules of this folder that register one. Scripts beside them are left alone."""
    modules = sorted(path.stem for path in ROOT.glob("*.py") if "@benchmark(" in path.read_text(encoding="utf-8"))
    for module in modules:
        importlib.import_module(f"benchmarks.{module}")
    return [module for module in modules if module in _REGISTRY]


def named(name: str) -> Benchmark:
    """The benchmark of this name.

    Raises:
        UnknownName: there is none.
    """
    if name not in _REGISTRY and (ROOT / f"{name}.py").is_file():
        importlib.import_module(f"benchmarks.{name}")
    if name not in _REGISTRY:
        raise unknown_name("A benchmark", name, names())
    return _REGISTRY[name]
