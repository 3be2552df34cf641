"""Whether inputs are scaled as in training, judged by the first BatchNormalization."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from keras_taylor._keras.program import Call, Program, infer
from keras_taylor.errors import warn

_LIMIT = 5.0
"""Standard deviations, and their ratio, at which inputs count as scaled otherwise than in training."""


def warn_of_range(program: Program, batch: Any) -> None:
    """Warn when the first BatchNormalization sees other inputs than in training, as when images are scaled otherwise.

    Args:
        program: the flattened model.
        batch: one array per model input.
    """
    seen: list[tuple[str, Any, Any, Any, Any]] = []

    def look(call: Call, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        layer = call.operation
        if isinstance(layer, keras.layers.BatchNormalization) and not seen:
            x = np.asarray(args[0], np.float64)
            axes = tuple(a for a in range(x.ndim) if a != layer.axis % x.ndim)
            mean, deviation = layer.moving_mean.numpy(), np.sqrt(layer.moving_variance.numpy() + layer.epsilon)
            if mean.any() or np.ptp(deviation):  # not as they were made, or folded
                seen.append((layer.name, mean, deviation, x.mean(axes), x.std(axes)))
        return infer(call, args, kwargs)

    program.run(batch, look)
    for name, mean, deviation, found_mean, found_deviation in seen:
        shift = float(np.median(np.abs(found_mean - mean) / deviation))
        factor = float(np.median(found_deviation / deviation))
        if shift > _LIMIT or not 1 / _LIMIT < factor < _LIMIT:
            trained, found = (
                f"{np.median(m - 2 * s):.3g} to {np.median(m + 2 * s):.3g}"
                for m, s in ((mean, deviation), (found_mean, found_deviation))
            )
            inputs = ", ".join(f"{np.min(x):.3g} to {np.max(x):.3g}" for x in batch)
            warn(
                f"The inputs look different from those of training: at {name!r}, values are {found} (training: {trained}), "
                f"their mean is {shift:.1f} standard deviations off, and they spread {factor:.2g} times as much (medians over "
                f"the channels). The inputs are {inputs}. Scale them as in training. "
                "(After a few steps of training the statistics themselves may still be off.)"
            )
