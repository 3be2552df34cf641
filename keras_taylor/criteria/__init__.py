"""Criteria: recorded statistics -> one number per channel. Every module of this package is imported, so a file is enough."""

import importlib
import pkgutil

from keras_taylor.criteria._base import Criterion, Filters, Record, criterion_for, register_criterion, registered

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")

from keras_taylor.criteria.magnitude import Magnitude  # noqa: E402
from keras_taylor.criteria.random import Random  # noqa: E402
from keras_taylor.criteria.taylor import Taylor  # noqa: E402

__all__ = [
    "Criterion",
    "Filters",
    "Magnitude",
    "Random",
    "Record",
    "Taylor",
    "criterion_for",
    "register_criterion",
    "registered",
]
