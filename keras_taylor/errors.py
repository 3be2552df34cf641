"""Everything that keras_taylor raises on purpose.

    KerasTaylorError
    ├── UnsupportedModel    the model cannot be traced (unbuilt, subclassed)
    ├── BadInput            an argument, a data set or a path is not usable
    ├── UnknownName         a criterion, layer or option name that does not exist
    ├── InfeasibleTarget    no plan reaches the budget under the constraints
    ├── PlanMismatch        a plan that was made for another model
    ├── NonFiniteScores     NaN or infinity where a score should be
    ├── ConversionError     the LiteRT converter refuses an operation
    └── ExportMismatch      the exported file computes something else than the model

Every class is also a `ValueError`, so `except ValueError` works as it does with Keras.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class KerasTaylorError(ValueError):
    """Base class of all errors of this package."""


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


def unknown_name(what: str, name: str, known: Iterable[str]) -> UnknownName:
    """The error for `name`, with the nearest match among `known`."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f"Did you mean {near[0]!r}?" if near else f"Known: {', '.join(names[:20])}{', ...' if len(names) > 20 else ''}."
    return UnknownName(f"{what} must be a known name. Received: {name!r}. {hint}")
