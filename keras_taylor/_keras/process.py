"""TensorFlow's converter and TFMOT change the process that they run in; nothing of it is left behind."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import keras
import tensorflow as tf

_VARIABLE = "TF_USE_LEGACY_KERAS"


@contextmanager
def unchanged() -> Iterator[None]:
    """Restore the environment variable that TFMOT sets, the object that `tf.keras` is, and the global dtype policy."""
    variable, module, policy = os.environ.get(_VARIABLE), vars(tf).get("keras"), keras.config.dtype_policy()
    try:
        yield
    finally:
        if variable is None:
            os.environ.pop(_VARIABLE, None)
        else:
            os.environ[_VARIABLE] = variable
        if module is not None:
            tf.keras = module
        keras.config.set_dtype_policy(policy)


@contextmanager
def quiet() -> Iterator[None]:
    """Drop what the converter writes to the standard error stream; it writes around `sys.stderr`."""
    sys.stderr.flush()
    saved = os.dup(2)
    try:
        with open(os.devnull, "wb") as null:
            os.dup2(null.fileno(), 2)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
