"""Columns of inputs that one scale for all of them takes away."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_taylor.errors import listed


def unseen_columns(names: Sequence[str], inputs: Sequence[Any], steps: Sequence[float]) -> str:
    """What to say of columns (positions along the last axis) that vary by less than one step of the input's scale.

    Args:
        names: of the inputs.
        inputs: examples, one array per input.
        steps: for each input the distance between two values that the file can tell apart; 0 for a float.

    Returns:
        The cause and the remedy, or an empty string.
    """
    for name, array, step in zip(names, inputs, steps, strict=True):
        values = np.asarray(array, np.float64) if step else np.zeros((1, 1))
        values = values.reshape(-1, values.shape[-1] if values.ndim > 1 else 1)
        spread = np.ptp(values, 0)
        unseen = np.flatnonzero((spread > 1e-6 * np.abs(values).max(0)) & (spread < step))
        if len(unseen):
            return (
                f"Input {name!r} has one scale for all columns, of step {step:.2g}; columns {listed(map(str, unseen))} vary "
                f"by less (at most {spread[unseen].max():.2g}), so the file cannot see them. Normalise the inputs outside the "
                "file, before the model that is exported (keras.layers.Normalization in the preprocessing)."
            )
    return ""
