"""Whether inputs are scaled as in training, judged by the first BatchNormalization."""

from __future__ import annotations

from typing import Any

import numpy as np

from keras_taylor._keras.program import Call, Program, infer
from keras_taylor.errors import warn
from keras_taylor.rules import rule_for

_SUSPICIOUS = 5.0
"""How many standard deviations the mean may be off, and how many times wider or narrower the spread may be."""


def warn_of_range(program: Program, batch: Any) -> None:
    """Warn when the first BatchNormalization sees other inputs than in training: images that are not scaled alike.

    Args:
        program: the flattened model.
        batch: some examples, one array per input of the model.
    """
    seen: list[tuple[str, Any, Any, Any, Any]] = []

    def look(call: Call, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        rule, _ = rule_for(call.operation)
        statistics = None if seen or rule is None else rule.batch_statistics(call.operation)
        if statistics is not None:
            x = np.asarray(args[0], np.float64)
            axes = tuple(a for a in range(x.ndim) if a != statistics.axis % x.ndim)
            mean, deviation = statistics.mean.numpy(), np.sqrt(statistics.variance.numpy() + statistics.epsilon)
            if mean.any() or np.ptp(deviation):  # not as they were made, or folded
                seen.append((call.operation.name, mean, deviation, x.mean(axes), x.std(axes)))
        return infer(call, args, kwargs)

    program.run(batch, look)
    for name, mean, deviation, found_mean, found_deviation in seen:
        shift = float(np.median(np.abs(found_mean - mean) / deviation))
        factor = float(np.median(found_deviation / deviation))
        if shift > _SUSPICIOUS or not 1 / _SUSPICIOUS < factor < _SUSPICIOUS:
            trained, found = (
                f"{np.median(m - 2 * s):.3g} to {np.median(m + 2 * s):.3g}"
                for m, s in ((mean, deviation), (found_mean, found_deviation))
            )
            inputs = ", ".join(f"{np.min(x):.3g} to {np.max(x):.3g}" for x in batch)
            warn(
                f"The inputs look different from those of training: at {name!r}, values are {found} (training: {trained}), "
                f"their mean is {shift:.1f} standard deviations off, and they spread {factor:.2g} times as much (medians over "
                f"the channels). The inputs are {inputs}. Scale them as in training. "
                "(After a few steps of training the statistics themselves may still be far off.)"
            )
