"""Packages that only a part of this one needs."""

import importlib
import sys

import pytest

from keras_taylor._output.optional import optional, require, version_of
from keras_taylor.errors import KerasTaylorError, MissingPackage


def test_what_is_installed_is_imported():
    assert optional("importlib.util", "demo") is importlib.util
    assert require("matplotlib.figure", "studies") is None
    assert version_of("numpy") == sys.modules["numpy"].__version__


@pytest.mark.parametrize("check", [optional, require])
@pytest.mark.parametrize("module", ["no_such_package.part", "sklearn.datasets"])
def test_what_is_missing_is_one_line_with_the_command_that_installs_it(check, module, monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(MissingPackage) as raised:
        check(module, "demo")
    top = module.split(".")[0]
    assert str(raised.value) == f"`{top}` is needed for this and is not installed. Run: pip install 'keras-taylor[demo]'."
    assert isinstance(raised.value, ImportError) and isinstance(raised.value, KerasTaylorError)
    assert version_of("no-such-package") is None


def test_a_package_that_is_broken_says_so_itself(tmp_path, monkeypatch):
    (tmp_path / "broken_package.py").write_text("import no_such_package\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="no_such_package") as raised:
        optional("broken_package", "demo")
    assert not isinstance(raised.value, MissingPackage)
