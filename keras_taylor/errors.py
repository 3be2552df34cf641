"""Everything that keras_taylor raises on purpose.

    KerasTaylorError
    ├── UnsupportedModel    the model cannot be traced (unbuilt, subclassed)
    ├── BadInput            an argument, a data set or a path is not usable
    ├── UnknownName         a criterion, layer or option name that does not exist
    ├── InfeasibleTarget    no plan reaches the budget under the constraints
    ├── PlanMismatch        a plan that was made for another model
    ├── NonFiniteScores     NaN or infinity where a score should be
    ├── ConversionError     the LiteRT converter refuses an operation
    ├── ExportMismatch      the exported file computes something else than the model
    └── MissingPackage      an optional package is not installed; also an ImportError

Every class is also a `ValueError`, so `except ValueError` works as it does with Keras.
"""

from __future__ import annotations

import difflib
import math
import numbers
import operator
import sys
import warnings
from collections.abc import Iterable, Mapping
from typing import Any

_MOST = 2000
"""Characters of a message: about ten lines of a terminal."""


class KerasTaylorError(ValueError):
    """Base class of all errors of this package. A message fits on a screen, whatever was received."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*(_cut(arg, _MOST) if isinstance(arg, str) else arg for arg in args), **kwargs)


class UnsupportedModel(KerasTaylorError):
    """The model cannot be traced."""


class BadInput(KerasTaylorError):
    """An argument, a data set or a path is not usable."""


class UnknownName(KerasTaylorError):
    """A name that is not among the known ones."""


class InfeasibleTarget(KerasTaylorError):
    """No plan reaches the budget under the constraints and locks."""


class PlanMismatch(KerasTaylorError):
    """A plan that was made for another model, or that contradicts the model's ties."""


class NonFiniteScores(KerasTaylorError):
    """NaN or infinity where a score should be."""


class ConversionError(KerasTaylorError):
    """The LiteRT converter refuses an operation."""


class ExportMismatch(KerasTaylorError):
    """The exported file computes something else than the model."""


class MissingPackage(KerasTaylorError, ImportError):
    """An optional package is not installed."""


def shown(value: Any, most: int = 200) -> str:
    """What was received, for a message: its `repr` in one line, without the middle where that is long; of arrays, the shape."""
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return f"an array of shape {tuple(value.shape)}"
    inner = value if isinstance(value, (list, tuple, set, frozenset)) else ()
    if isinstance(value, Mapping):
        inner = list(value.values())
    if len(inner) > 20 or any(hasattr(one, "shape") or isinstance(one, (list, tuple, Mapping)) for one in inner):
        return f"a {type(value).__name__} of {len(inner)}"
    return _cut(" ".join(repr(value).split()), most)


def _cut(text: str, most: int) -> str:
    """The text without its middle, where it is longer."""
    return text if len(text) <= most else f"{text[: most // 2]} ... {text[-(most // 2) :]}"


def in_short(error: Exception) -> str:
    """The cause of an error of Keras in one line, without the config that Keras prints."""
    text = str(error).rpartition("Exception encountered:")[2].strip()
    line = next((line.strip() for line in text.splitlines() if line.strip()), type(error).__name__)
    return line if len(line) <= 160 else f"{line[:157]}..."


def unknown_name(what: str, name: str, known: Iterable[str]) -> UnknownName:
    """The error for `name`, with the nearest match among `known`, or those few that it is a part of."""
    names = sorted(known)
    parts = [one for one in names if name.lower() in one.lower().split("_")]  # "int8" is a part of two
    near = parts if 0 < len(parts) < 4 else difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    meant = " or ".join(map(repr, near))
    hint = f"Did you mean {meant}?" if near else f"Known: {', '.join(names[:20])}{', ...' if len(names) > 20 else ''}."
    return UnknownName(f"{what} must be a known name. Received: {name!r}. {hint}")


def listed(names: Iterable[str], most: int = 5, what: str = "more") -> str:
    """Names with commas between them; of many, the first ones and how many `what` there are.

    Example:
        >>> listed(["a", "b", "c"], most=2, what="more layers")
        'a, b and 1 more layers'
    """
    all_of_them = list(names)
    rest = len(all_of_them) - most
    return ", ".join(all_of_them[:most]) + (f" and {rest} {what}" if rest > 0 else "")


def several(name: str, values: Any) -> list[Any]:
    """`values` as a list, if they are several: a list, a tuple, a range, an array.

    Raises:
        BadInput: a single value; `name` says of what.
    """
    if isinstance(values, (str, bytes, Mapping)) or not isinstance(values, Iterable):
        raise BadInput(f"{name} must be a list. Received: {values!r}. Write {name}=[...], for a single one, too.")
    return list(values)


def whole_number(name: str, value: Any, least: int = 1, most: int | None = None) -> int:
    """`value` as an `int`: Python's or NumPy's whole numbers, but no truth values and no floats.

    Raises:
        BadInput: it is none, or out of range; `name` says of what.
    """
    try:
        number = None if isinstance(value, bool) else operator.index(value)
    except TypeError:
        number = None
    if number is None or number < least or (most is not None and number > most):
        allowed = f"of at least {least}" if most is None else f"from {least} to {most}"
        raise BadInput(f"{name} must be a whole number {allowed}. Received: {shown(value)}.")
    return number


def positive(name: str, value: Any) -> float:
    """`value`, a finite number above 0.

    Raises:
        BadInput: it is none; `name` says of what.
    """
    number = float(value) if isinstance(value, numbers.Real) and not isinstance(value, bool) else math.nan
    if not 0 < number < math.inf:
        raise BadInput(f"{name} must be above 0 and finite. Received: {shown(value)}.")
    return number


def warn(text: str, category: type[Warning] = UserWarning) -> None:
    """Warn at the line of the user's code that called into this package, however deep the caller is."""
    frame, level = sys._getframe(1), 2
    while frame.f_back is not None and frame.f_globals.get("__name__", "").split(".")[0] == __package__:
        frame, level = frame.f_back, level + 1
    warnings.warn(text, category, stacklevel=level)
