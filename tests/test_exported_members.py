"""The public names, and the examples in the docstrings."""

import doctest
import importlib
import inspect
import pkgutil

import pytest

import keras_taylor as kt
from keras_taylor import criteria, litert, quantizers, rules
from keras_taylor.criteria import _base as criteria_base
from keras_taylor.quantizers import _base as quantizers_base
from keras_taylor.rules import _registry as rules_registry

MODULES = [module.name for module in pkgutil.walk_packages(kt.__path__, "keras_taylor.")]


@pytest.mark.parametrize("package", [kt, rules, criteria, quantizers, litert], ids=lambda package: package.__name__)
def test_all_is_importable(package):
    assert len(set(package.__all__)) == len(package.__all__)
    for name in package.__all__:
        assert getattr(package, name, None) is not None


def test_all_is_everything_public():
    for name in dir(kt):  # names are imported when they are first used
        getattr(kt, name)
    public = {name for name, value in vars(kt).items() if not name.startswith("_") and not _private_module(name, value)}
    assert public == set(kt.__all__)
    assert {name for name in dir(kt) if not name.startswith("_")} == set(kt.__all__)


def test_a_name_that_is_not_there():
    assert not hasattr(kt, "prun")
    with pytest.raises(AttributeError, match="module 'keras_taylor' has no attribute 'prun'"):
        _ = kt.prun
    with pytest.raises(ImportError, match="cannot import name 'prun'"):
        from keras_taylor import prun  # noqa: F401


def _private_module(name, value):
    return inspect.ismodule(value) and not value.__name__.startswith("keras_taylor")


def test_the_promised_names_are_there():
    steps = "trace score plan rebuild verify prune fit_with_pruning wrap TaylorGate export_tflite"
    values = "Target Constraints Schedule PruningPlan Scores ChannelGraph Report Criterion register_criterion"
    more = "LayerRule register_rule testing errors rules criteria quantizers litert results studies Recipe"
    more += " Float16 DynamicRange Int8PTQ Int8QAT quantize measure sweep repair oracle score_all analyze Analysis"
    assert set(f"{steps} {values} {more}".split()) <= set(kt.__all__)


@pytest.mark.parametrize("name", sorted(kt._MOVED))
def test_names_of_the_last_release(name):
    """They work once more, and say where they are now."""
    home, _, known_as = kt._MOVED[name].rpartition(".")
    with pytest.warns(DeprecationWarning, match=f"kt.{name} is called kt.{kt._MOVED[name]} now") as caught:
        assert getattr(kt, name) is getattr(getattr(kt, home), known_as)
    assert caught[0].filename == __file__ and name not in dir(kt)


@pytest.fixture
def registries(monkeypatch):
    """Examples register rules, criteria and quantizers: they are forgotten afterwards."""
    monkeypatch.setattr(rules_registry, "_REGISTRY", dict(rules_registry._REGISTRY))
    monkeypatch.setattr(criteria_base, "_REGISTRY", criteria_base._REGISTRY.copy())
    monkeypatch.setattr(quantizers_base, "_REGISTRY", quantizers_base._REGISTRY.copy())


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_in_the_docstrings_run(name, registries):
    module = importlib.import_module(name)
    found = doctest.testmod(module, optionflags=doctest.NORMALIZE_WHITESPACE)
    assert found.failed == 0, f"{found.failed} of {found.attempted} examples of {name} fail"


def test_public_functions_and_classes_have_an_example():
    lacking = [
        name
        for name in kt.__all__
        if (inspect.isfunction(getattr(kt, name)) or name in ("Target", "Constraints", "Schedule", "TaylorGate", "Criterion"))
        and ">>>" not in (getattr(kt, name).__doc__ or "")
    ]
    # The decorators are shown by the classes that they decorate.
    assert set(lacking) <= {"register_rule", "register_criterion"}


def test_every_error_is_a_value_error():
    classes = [value for value in vars(kt.errors).values() if inspect.isclass(value) and value.__module__ == kt.errors.__name__]
    assert len(classes) >= 8
    assert all(issubclass(kind, ValueError) and issubclass(kind, kt.errors.KerasTaylorError) for kind in classes)


def test_unknown_names():
    assert "Did you mean 'taylor'?" in str(kt.errors.unknown_name("criterion", "taylr", ["taylor", "random"]))
    many = [f"layer{i}" for i in range(30)]
    assert str(kt.errors.unknown_name("A layer", "zzz", many)).endswith(", ....")
