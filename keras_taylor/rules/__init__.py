"""Rules: what each class of operation does to channels. Every module of this package is imported, so a file is enough.

`python -m keras_taylor.rules` prints which operations have a rule.
"""

from typing import Any

from keras_taylor._keras.program import Call
from keras_taylor._registry import import_all
from keras_taylor.errors import warn
from keras_taylor.rules._activation import UNCLIPPED, ClipRange
from keras_taylor.rules._base import (
    BatchStatistics,
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
)
from keras_taylor.rules._locks import Lock, LockReason
from keras_taylor.rules._registry import register_rule, registered, rule_for
from keras_taylor.rules._supported import Supported, supported
from keras_taylor.rules._tf_keras_form import TFKerasForm

import_all(__name__, __path__)

__all__ = [
    "UNCLIPPED",
    "BatchStatistics",
    "Call",
    "ClipRange",
    "Ids",
    "Keep",
    "Labeller",
    "Labels",
    "LayerRule",
    "Linear",
    "Lock",
    "LockReason",
    "PassThrough",
    "Remake",
    "Step",
    "Supported",
    "TFKerasForm",
    "Trace",
    "register_rule",
    "registered",
    "rule_for",
    "supported",
]


def __getattr__(name: str) -> Any:
    if name == "Legacy":
        warn("kt.rules.Legacy is called kt.rules.TFKerasForm now.", DeprecationWarning)
        return TFKerasForm
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
