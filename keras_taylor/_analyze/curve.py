"""What is lost at every share, from what was measured at a few."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from scipy.interpolate import PchipInterpolator
from scipy.optimize import isotonic_regression

_CAP = 1e6
"""A small model whose outputs are not finite has lost more than any number says."""


class Curve:
    """A loss that never falls as the share does, through what was measured, and through 0 at the share 1.

    Where measurements contradict that, neighbours are averaged until they do not (isotonic regression). In between it is
    Fritsch and Carlson's monotone cubic, over the logarithm of the share: halving costs about as much at any size.

    Args:
        measured: what is lost, by share of the multiply-accumulates, each below 1.

    Example:
        >>> curve = Curve({0.5: 0.1, 0.25: 0.4})
        >>> 0.1 < curve(0.4) < curve(0.3) < 0.4
        True

    References:
        Fritsch and Carlson 1980, "Monotone piecewise cubic interpolation"; Barlow et al. 1972, "Statistical inference under
        order restrictions".
    """

    def __init__(self, measured: Mapping[float, float]) -> None:
        shares = [*sorted(measured), 1.0]
        lost = np.minimum([*(measured[share] for share in shares[:-1]), 0.0], _CAP)
        weights = [*([1.0] * (len(shares) - 1)), 1e9]  # the last one is no measurement: nothing removed, nothing lost
        fitted = isotonic_regression(lost, weights=weights, increasing=False).x
        self._curve = PchipInterpolator(np.log(shares), fitted)
        self._least = shares[0]

    def __call__(self, share: float) -> float:
        """What is lost at a share; below the smallest that was measured, what was lost there."""
        return float(self._curve(np.log(max(share, self._least))))
