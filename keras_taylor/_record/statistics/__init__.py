"""Statistics: what can be recorded of every channel, one file each. Every module of this package is imported."""

import importlib
import pkgutil

from keras_taylor._record.statistics._base import Statistic, register_statistic, statistics_named

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")

__all__ = ["Statistic", "register_statistic", "statistics_named"]
