"""A panel of study `grid`: the curves of one network on one data set, and what can be read from them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from keras_taylor.studies._grid_arms import LIBRARY, UNPRUNED
from keras_taylor.studies._grid_net import SIZES, TITLES
from keras_taylor.studies._statistics import mean_interval

STEP = 0.1
"""Accuracies are averaged over shares of maps that are so far apart."""


class Panel:
    """One network on one data set.

    Args:
        values: of the panel, as the study stores them.

    Attributes:
        name: as tables and figures call it.
        net: name of the net.
        data: name of the data set.
        curves: for each arm, a curve for each seed.
        criteria: the arms that rank maps by a criterion: these can be compared, point by point.
    """

    def __init__(self, values: Mapping[str, Any]) -> None:
        self.values = values
        self.net, self.data = str(values["net"]), str(values["data"])
        self.name = f"{TITLES[self.net]} on {self.data}"
        self.curves: Mapping[str, Sequence[Sequence[Mapping[str, Any]]]] = values["arms"]
        self.criteria = [arm for arm in self.curves if arm not in (LIBRARY, UNPRUNED)]

    @property
    def small(self) -> bool:
        """Whether the net is narrower than the paper's, or its images are smaller."""
        return bool(self.values["width"] < 1 or self.values["size"] < SIZES[self.net])

    @property
    def base(self) -> list[float]:
        """Accuracy before pruning, for each seed."""
        return [float(one) for one in self.values["base accuracy"]]

    def accuracy(self, arm: str, share: float, of: str = "maps") -> list[float]:
        """Accuracy where this share is left, for each seed, between the points on a line; none where a curve does not go.

        Args:
            arm: of the panel.
            share: between 0 and 1.
            of: `"maps"` or `"macs"`. The unpruned net has all of both, and is read at the time at which a pruned one has this
                share of its maps.
        """
        found = []
        for curve in self.curves[arm]:
            x = np.array([point["at" if of == "maps" else "macs"] for point in curve]) / self.values[of]
            y = np.array([point["accuracy"] for point in curve])
            if share >= x.min() - 1e-9:
                found.append(float(np.interp(share, x[::-1], y[::-1])))
        return found if len(found) == len(self.curves[arm]) else []

    def mean(self, arm: str) -> list[float]:
        """Accuracy for each seed, averaged over the shares of maps from 90 % down to where pruning ends."""
        last = self.values["until"]
        shares = [*np.arange(1 - STEP, last + STEP / 2, -STEP), last]
        rows = [self.accuracy(arm, float(share)) for share in shares]
        return [float(one) for one in np.mean(rows, axis=0)] if all(rows) else []

    def order(self) -> list[str]:
        """The criteria, that with the highest mean accuracy first."""
        found = {arm: self.mean(arm) for arm in self.criteria}
        return sorted((arm for arm in found if found[arm]), key=lambda arm: -float(np.mean(found[arm])))

    def difference(self, a: str, b: str) -> tuple[float, float]:
        """By how much the mean accuracy of `a` is above that of `b`, and half the width of its 95 % interval.

        Paired by seed; with one seed, what so many test images leave open, as if both nets had seen other ones.
        """
        first, second = np.array(self.mean(a)), np.array(self.mean(b))
        mean, half = mean_interval([float(one) for one in first - second])
        if math.isnan(half):
            spread = sum(float(one.mean() * (1 - one.mean())) for one in (first, second))
            half = 1.96 * math.sqrt(spread / self.values["test images"])
        return mean, half

    def clear(self, a: str, b: str) -> bool:
        """Whether the interval of the difference excludes 0."""
        mean, half = self.difference(a, b)
        return abs(mean) > half > 0
