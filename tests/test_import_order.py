"""Data flows one way: a folder imports only from folders that stand above it in this list."""

import pytest

from tests.layout import PACKAGE, cyclic, edges, imported, inner, modules, room

ORDER = """
errors
_registry
_output
_keras
rules
_trace
criteria
_record
_score
_plan
_rebuild
_repair
litert
quantizers
_quantize
_measure
_run
_analyze
_sweep
repairs
results
studies
testing
_cli
__main__
__init__
""".split()
RANK = {name: rank for rank, name in enumerate(ORDER)}
MODULES = modules(PACKAGE)
# What the files of a package that is open to additions may see, but for modules of its own that begin with an underscore.
OPEN = {"rules": "_keras", "criteria": "errors"}
# Who alone may import these, and what of the package they are the border to.
BORDERS = {
    "keras.src": ("_keras.",),
    "ai_edge_litert": ("litert.",),
    "tensorflow_model_optimization": ("quantizers._tf_keras_bridge",),
    "tf_keras": ("quantizers._tf_keras_bridge",),
}

# Attributes that Keras keeps to itself: what is needed of them has a name in `_keras`.
PRIVATE = """
_compile_config _compile_loss _flatten_layers _functional _inputs_struct _keras_history _nodes_by_depth _outputs_struct
_standardize_inputs
""".split()


def test_every_room_has_its_place():
    assert {room(module) for module in MODULES} == set(ORDER)


@pytest.mark.parametrize("module", sorted(MODULES))
def test_no_import_goes_back(module):
    for target in inner(MODULES[module], MODULES):
        a, b = room(module), room(target)
        assert a == b or RANK[b] < RANK[a], f"{module} imports {target}, which comes later"


@pytest.mark.parametrize("package", sorted(OPEN))
def test_open_packages_see_only_their_base(package):
    for module, target in edges(PACKAGE):
        if room(module) == package and module != package:
            own = target.startswith(f"{package}._") or module.endswith("__main__")  # which is a program
            assert own or room(target) in (OPEN[package], "errors", "_registry"), f"{module} imports {target}"


def test_there_is_no_cycle():
    # The __init__ of a package gathers its parts, and may not be needed to import them.
    assert not cyclic({(a, b) for a, b in edges(PACKAGE) if a != b})


@pytest.mark.parametrize("border", sorted(BORDERS))
def test_borders(border):
    for module, path in MODULES.items():
        if not module.startswith(BORDERS[border]):
            assert not [name for name in imported(path) if f"{name}.".startswith(f"{border}.")], f"{module} imports {border}"


@pytest.mark.parametrize("attribute", PRIVATE)
def test_private_attributes_of_keras(attribute):
    inside = {path for module, path in MODULES.items() if module.startswith("_keras.")}
    others = {*MODULES.values(), *PACKAGE.parent.joinpath("benchmarks").rglob("*.py")} - inside
    assert any(f".{attribute}" in path.read_text(encoding="utf-8") for path in inside)
    assert not [path for path in others if f".{attribute}" in path.read_text(encoding="utf-8")]


def test_modules_are_small():
    lengths = {module: len(path.read_text(encoding="utf-8").splitlines()) for module, path in MODULES.items()}
    assert {module: lines for module, lines in lengths.items() if lines > 400} == {}


def test_the_tests_can_fail(tmp_path):
    path = tmp_path / "bad.py"
    path.write_text("def f():\n    from keras_taylor._run.fit import fit_with_pruning\n    import keras.src.ops\n")
    assert inner(path, MODULES) == ["_run.fit"]
    assert imported(path)[-1] == "keras.src.ops"
    path = tmp_path / "lazy.py"
    path.write_text('optional("tf_keras", "qat")\noptional(f"ai_edge_litert.{name}", "litert")\n')
    assert imported(path) == ("tf_keras", "ai_edge_litert.")
    assert RANK["_run"] > RANK["_trace"] > RANK["rules"]
    assert cyclic({("a", "b"), ("b", "c"), ("c", "b"), ("b", "d")}) == {"a", "b", "c"}
