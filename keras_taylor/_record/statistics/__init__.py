"""Statistics: what can be recorded of every channel, one file each. Every module of this package is imported."""

from keras_taylor._record.statistics._base import Statistic, register_statistic, statistics_named
from keras_taylor._registry import import_all

import_all(__name__, __path__)

__all__ = ["Statistic", "register_statistic", "statistics_named"]
