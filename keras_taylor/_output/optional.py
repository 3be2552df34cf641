"""Packages that only some parts of this one need: they are imported where they are used."""

from __future__ import annotations

import importlib
from typing import Any

from keras_taylor.errors import MissingPackage

_DISTRIBUTIONS = {"sklearn": "scikit-learn"}
"""Names to install by, where they are not the name to import by with hyphens."""


def optional(module: str, extra: str) -> Any:
    """A module of an optional package, imported now.

    Args:
        module: its name, with dots, for example `"matplotlib.figure"`.
        extra: the extra of keras-taylor that brings the package, for example `"studies"`.

    Returns:
        The module.

    Raises:
        MissingPackage: the package cannot be imported; says how to install it.

    Example:
        >>> optional("json", "studies").dumps([1])
        '[1]'
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.split(".")[0]
        name = _DISTRIBUTIONS.get(package, package.replace("_", "-"))
        raise MissingPackage(
            f"The package {name} must be installed for this. Received: {error}. Run: pip install 'keras-taylor[{extra}]' "
            f"(or: pip install {name})."
        ) from error
