"""The package as rooms and arrows, read from its imports: `python -m tests.layout [FOLDER OF ANOTHER VERSION]` prints a table.

A room is a folder of the package, or a loose file in its root. An arrow leads from a room to another one that it imports from.
"""

from __future__ import annotations

import ast
import functools
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).parent.parent / "keras_taylor"


def modules(root: Path) -> dict[str, Path]:
    """Dotted name under the package -> file; a folder's `__init__` has the name of the folder, the root's is `__init__`."""
    found = {}
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        found[".".join(parts[:-1] if len(parts) > 1 and parts[-1] == "__init__" else parts)] = path
    return found


@functools.cache
def imported(path: Path) -> tuple[str, ...]:
    """Every dotted name that a file imports, anywhere in it (`from a import b` gives `a.b`)."""
    return tuple(_imported(path))


def _imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "optional":
            yield _text(node.args[0])


def _text(node: ast.expr) -> str:
    """The beginning of a text, as far as it can be read."""
    if isinstance(node, ast.JoinedStr):
        return _text(node.values[0])
    return str(node.value) if isinstance(node, ast.Constant) else ""


def inner(path: Path, known: dict[str, Path]) -> list[str]:
    """The modules of the package that a file imports."""
    found = []
    for name in imported(path):
        top, _, rest = name.partition(".")
        if top == "keras_taylor":
            found.append(rest if rest in known else rest.rpartition(".")[0] or "__init__")
    return found


def room(module: str) -> str:
    return module.split(".")[0]


def edges(root: Path) -> list[tuple[str, str]]:
    """Pairs of modules, the first of which imports the second."""
    known = modules(root)
    return [(module, target) for module, path in known.items() for target in dict.fromkeys(inner(path, known))]


def cyclic(pairs: set[tuple[str, str]]) -> set[str]:
    """The nodes of a graph that lie on, or lead to, a cycle."""
    graph: dict[str, set[str]] = {}
    for a, b in pairs:
        graph.setdefault(a, set()).add(b)
        graph.setdefault(b, set())
    while free := [node for node, targets in graph.items() if not targets & set(graph)]:
        for node in free:
            del graph[node]
    return set(graph)


def floors(pairs: set[tuple[str, str]]) -> int:
    """The longest chain of rooms that import each other, in rooms."""
    below: dict[str, set[str]] = {}
    for a, b in pairs:
        below.setdefault(a, set()).add(b)

    @functools.cache
    def height(node: str) -> int:
        return 1 + max((height(other) for other in below.get(node, ())), default=0)

    return max(height(a) for a, _ in pairs)


def facts(root: Path) -> dict[str, int]:
    """What the table shows, of one version of the package. The root's `__init__` imports everything and counts for nothing."""
    known = modules(root)
    arrows = {(room(a), room(b)) for a, b in edges(root) if "__init__" not in (a, b) and room(a) != room(b)}
    leaving = [(a, b) for a, b in edges(root) if "__init__" not in (a, b) and room(a) != room(b)]
    return {
        "entries in the root": len({room(module) for module in known}),
        "of which loose files": len([1 for path in root.glob("*.py")]),
        "modules": len(known),
        "longest module, lines": max(len(path.read_text(encoding="utf-8").splitlines()) for path in known.values()),
        "floors": floors(arrows) if not cyclic(arrows) else -1,
        "arrows between rooms": len(arrows),
        "imports that leave their room": len(leaving),
        "modules in cycles": len(cyclic({(a, b) for a, b in edges(root) if a != b and "__init__" not in (a, b)})),
    }


def main() -> None:
    roots = [PACKAGE, *(Path(given) for given in sys.argv[1:])]
    for name in facts(PACKAGE):
        print(f"{name:32}", *(f"{facts(root)[name]:8,}" for root in roots))
    for root in roots:
        print(f"\nmodules per room of {root}:")
        counts = Counter(room(module) for module in modules(root))
        print("  " + ", ".join(f"{name} {count}" for name, count in sorted(counts.items(), key=lambda item: -item[1])))


if __name__ == "__main__":
    main()
