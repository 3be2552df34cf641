"""How far the outputs of a file are from the model's, output by output and channel by channel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

_EXACT = 1e-6
"""Values that differ by less than this share of themselves are equal in float32."""
_NARROW = 1 / 64
"""A few steps of 8 bits."""
_NOTED = 20
"""How many channels the note in a file names."""


@dataclass(frozen=True)
class OutputCheck:
    """One output of a file beside the model's, over the checked examples.

    A channel is a position along the last axis; its range is from the least to the greatest value of the model, over all
    examples and positions.

    Attributes:
        name: of the output.
        error: the largest difference, relative to the largest magnitude of the output.
        channels: for each channel the largest difference, relative to the channel's own range; 0 where the range is nothing but
            rounding.
        constant: the channels that vary in the model and not in the file.
        constant_range: the widest range of one of these in the model.
        low: the least value of the output in the model.
        high: the greatest one.
        shares_unit: one bounded function (softmax, sigmoid, tanh) gives all channels: small ones are small, not lost.
    """

    name: str
    error: float
    channels: tuple[float, ...]
    constant: tuple[int, ...]
    constant_range: float
    low: float
    high: float
    shares_unit: bool

    @property
    def worst_channel(self) -> int:
        """The channel with the largest error."""
        return int(np.argmax(self.channels))

    def __str__(self) -> str:
        found = f"{self.error:.1e}; worst channel ({self.worst_channel}): {max(self.channels):.1e} of its own range"
        return found + (f"; constant: {len(self.constant)} of {len(self.channels)} channels" if self.constant else "")

    @property
    def lost_to_scale(self) -> bool:
        """Whether the constant channels are so narrow beside the output that one scale of 8 bits hides them."""
        return self.constant_range <= _NARROW * (max(self.high, 0.0) - min(self.low, 0.0))

    def noted(self) -> dict[str, Any]:
        """What the note in a file says of it."""
        return {
            "output": self.name,
            "error": float(f"{self.error:.3g}"),
            "worst_channel": self.worst_channel,
            "worst_channel_error": float(f"{max(self.channels):.3g}"),
            "constant_channels": len(self.constant),
            "first_constant_channels": list(self.constant[:_NOTED]),
        }


def check_output(name: str, error: float, expected: Any, found: Any, step: float) -> OutputCheck:
    """Compare one output.

    Args:
        name: of the output.
        error: see `OutputCheck`.
        expected: what the Keras model gives.
        found: what the file gives.
        step: the distance between two values of the file, where the function that gives them fixes it; else 0.
    """
    expected, found = _rows(expected), _rows(found)
    ranges, magnitudes = np.ptp(expected, 0), np.abs(expected).max(0, initial=0.0)
    # Less than float32 resolves, beside the channel's own values and beside the others; or than the file can show.
    floor = np.maximum(_EXACT * magnitudes, max(0.1 * _EXACT * magnitudes.max(initial=0.0), 2 * step, 1e-30))
    counts = ranges > floor
    constant = counts & (np.ptp(found, 0) == 0)
    errors = np.where(counts, np.abs(expected - found).max(0, initial=0.0) / np.maximum(ranges, floor), 0.0)
    return OutputCheck(
        name,
        error,
        tuple(float(e) for e in errors),
        tuple(int(c) for c in np.flatnonzero(constant)),
        float(ranges[constant].max(initial=0.0)),
        float(expected.min(initial=np.inf)),
        float(expected.max(initial=-np.inf)),
        step > 0,
    )


def _rows(output: Any) -> NDArray[np.float64]:
    """Values by channel, shape `(examples times positions, channels)`; an output with one value per example has one channel."""
    values = np.asarray(output, np.float64)
    return values.reshape(-1, values.shape[-1] if values.ndim > 1 else 1)
