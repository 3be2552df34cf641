"""Classes."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from keras_taylor._keras.batches import class_indices
from keras_taylor._record.statistics._base import Columns, Statistic, register_statistic
from keras_taylor._trace.read_sites import ReadSites
from keras_taylor.errors import BadInput


@register_statistic("labels")
class Classes(Statistic):
    """The class of each example, shape `(batch,)`; from integer or one-hot labels."""

    def from_batch(self, columns: Columns, sites: ReadSites, y: Any) -> NDArray[np.int64]:
        """The labels as they are given, or the places of the ones.

        Raises:
            BadInput: the labels are not one class per example.
        """
        if y is None or keras.tree.is_nested(y):
            raise BadInput("y must have one class per example for this criterion. Received: no labels, or several.")
        labels = class_indices(y)
        if labels.size != len(labels):
            raise BadInput(f"y must have one class per example for this criterion. Received: labels of shape {labels.shape}.")
        return labels.reshape(-1).astype(np.int64)

    def example(self, rng: np.random.Generator, examples: int, channels: int) -> NDArray[np.int64]:
        """Three classes."""
        return rng.integers(0, 3, examples)
