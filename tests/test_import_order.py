"""Data flows one way: a module imports only modules that stand above it in this list."""

import ast
import functools
from pathlib import Path

import pytest

import keras_taylor

ROOT = Path(keras_taylor.__file__).parent

ORDER = """
errors
_flatten
rules
_table
_cost
_graph
_gate _sites _folded
_files _data _datasets _loss _lite _quiet
_identity _folder _figure
_inputs
criteria
_self_labels
_natural _kernels
_curvature _linear
_recording
_removal
_scores
_masked
_scoring _oracle
_ranking
_plan
_compiled
_rebuild
_verify
_quantize
_latency
_stopwatch
_bops
_measure
_repair
_schedule
_report
_prune
_fit
_export
_sweep
studies
testing
_demo
_cli
__init__
"""
RANK = {name: rank for rank, line in enumerate(ORDER.split("\n")) for name in line.split()}
# What the files of a package that is open to additions may see.
OPEN = {
    "rules": ("rules._base", "rules._activation", "rules._legacy", "_flatten"),
    "criteria": ("criteria._base", "errors"),
}


def modules():
    for path in sorted(ROOT.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        yield ".".join(parts[:-1] if len(parts) > 1 and parts[-1] == "__init__" else parts), path


MODULES = dict(modules())


@functools.cache
def imports(path):
    """Names under `keras_taylor` that a file imports, anywhere in it."""
    return tuple(_imports(path))


def _imports(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            if node.module == "keras_taylor":
                yield from (alias.name for alias in node.names)
            elif node.module and node.module.startswith("keras_taylor."):
                inner = node.module.removeprefix("keras_taylor.")
                found = [f"{inner}.{alias.name}" for alias in node.names]
                yield from (name if name in MODULES else inner for name in found)
        elif isinstance(node, ast.Import):
            for alias in node.names:
                assert alias.name.split(".")[0] != "keras_taylor", f"{path}: import of the package itself"


def part(module):
    return module.split(".")[0]


def edges():
    return [(module, target) for module, path in MODULES.items() for target in imports(path)]


def test_every_part_has_its_place():
    missing = {part(module) for module in MODULES} - set(RANK)
    assert not missing, f"add to ORDER: {missing}"


@pytest.mark.parametrize("module", sorted(MODULES))
def test_no_import_goes_up(module):
    for target in imports(MODULES[module]):
        a, b = part(module), part(target)
        assert a == b or RANK[b] < RANK[a], f"{module} imports {target}, which stands below it"


@pytest.mark.parametrize("package", sorted(OPEN))
def test_open_packages_see_only_their_base(package):
    for module, target in edges():
        if part(module) == package and module not in (package, f"{package}._base"):
            assert target in OPEN[package], f"{module} imports {target}"


def test_inside_a_package_there_is_no_cycle():
    graph = {module: {t for m, t in edges() if m == module and t != module} for module in MODULES}
    # The __init__ of a package stands for the package: what it gathers may not be needed to import its own parts.
    while graph:
        free = [module for module, targets in graph.items() if not targets & set(graph)]
        assert free, f"imports go round in circles: {graph}"
        for module in free:
            del graph[module]


def test_the_test_can_fail(tmp_path):
    path = tmp_path / "bad.py"
    path.write_text("def f():\n    from keras_taylor._fit import fit_with_pruning\n    from keras_taylor import rules\n")
    assert imports(path) == ("_fit", "rules")
    assert RANK["_fit"] > RANK["_graph"] > RANK["rules"]
