"""Classes by name, without a list of them anywhere: all modules of their package are imported, and register what they have."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterable, Mapping
from typing import Generic, NoReturn, TypeVar

from keras_taylor.errors import BadInput, unknown_name

_Class = TypeVar("_Class", bound=type)
_Kind = TypeVar("_Kind", bound=type)


class Registry(dict[str, _Class], Generic[_Class]):
    """Classes by name; a name that is not there is an `UnknownName` with the nearest match.

    Args:
        what: they are, in errors.
        known: what is registered already.
    """

    def __init__(self, what: str, known: Mapping[str, _Class] | None = None) -> None:
        super().__init__(known or {})
        self.what = what

    def __missing__(self, name: str) -> NoReturn:
        raise unknown_name(self.what, name, self)

    def add(self, name: str, kind: _Kind) -> _Kind:
        """Register a class, which then has the name as an attribute; the same class may come again, as in a notebook.

        Raises:
            BadInput: another class has this name.
        """
        if name in self and self[name].__qualname__ != kind.__qualname__:
            raise BadInput(f"The name of a {self.what} must be free. Received: {name!r}, which is {self[name].__qualname__}.")
        kind.name = name  # type: ignore[attr-defined]
        self[name] = kind  # type: ignore[assignment]
        return kind

    def copy(self) -> Registry[_Class]:
        """Another registry with the same classes."""
        return Registry(self.what, self)


def import_all(package: str, path: Iterable[str]) -> None:
    """Import the modules of a package whose names begin with a letter.

    Args:
        package: its name.
        path: its `__path__`.
    """
    for module in pkgutil.iter_modules(path):
        if not module.name.startswith("_"):
            importlib.import_module(f"{package}.{module.name}")
