"""Accuracy of a net on held-back data."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from keras_taylor._keras.batches import class_indices


def accuracy(model: Any, x: Any, y: Any, batch_size: int) -> float:
    """The share of examples whose largest output is that of their class; an output that is not finite is wrong."""
    outputs = np.asarray(keras.tree.flatten(model.predict(x, batch_size=batch_size, verbose=0))[0])
    outputs = outputs.reshape(len(x), -1)
    right = (outputs.argmax(-1) == class_indices(y).ravel()) & np.isfinite(outputs).all(-1)
    return float(right.mean())
