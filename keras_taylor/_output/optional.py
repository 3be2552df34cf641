"""Packages that only a part of this one needs: imported where they are used, and missed in one clear line."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from importlib import metadata
from types import ModuleType

from keras_taylor.errors import MissingPackage


def optional(module: str, extra: str) -> ModuleType:
    """The module of that name, imported.

    Args:
        module: its dotted name.
        extra: the extra of keras-taylor that installs it.

    Raises:
        MissingPackage: it is not installed; the message says what to run.
    """
    require(module, extra)
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name != _top(module):  # it is there, and broken
            raise
        raise _missing(module, extra) from None


def version_of(package: str) -> str | None:
    """The version of an installed package, by the name that pip knows; None where it is not installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def require(module: str, extra: str) -> None:
    """Nothing, where the module of that name is installed; it is not imported. Arguments and errors are those of `optional`."""
    top = _top(module)
    try:
        found = sys.modules[top] if top in sys.modules else importlib.util.find_spec(top)
    except ImportError:  # an import hook that refuses it
        found = None
    if not found:
        raise _missing(module, extra)


def _top(module: str) -> str:
    return module.partition(".")[0]


def _missing(module: str, extra: str) -> MissingPackage:
    return MissingPackage(
        f"`{_top(module)}` is needed for this and is not installed. Run: pip install 'keras-taylor[{extra}]'."
    )
