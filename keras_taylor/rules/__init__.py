"""Rules: what each class of operation does to channels. Every module of this package is imported, so a file is enough."""

import importlib
import pkgutil

from keras_taylor.rules._base import (
    Ids,
    Keep,
    Labeller,
    Labels,
    LayerRule,
    Linear,
    PassThrough,
    Remake,
    Step,
    Trace,
    register_rule,
    registered,
    rule_for,
)
from keras_taylor.rules._tf_keras_form import Legacy

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")

__all__ = [
    "Ids",
    "Keep",
    "Labeller",
    "Labels",
    "LayerRule",
    "Legacy",
    "Linear",
    "PassThrough",
    "Remake",
    "Step",
    "Trace",
    "register_rule",
    "registered",
    "rule_for",
]
