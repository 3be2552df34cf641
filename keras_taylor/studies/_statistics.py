"""Rank correlation over channels, and intervals for what several seeds gave."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from keras_taylor._trace.graph import ChannelGraph
from keras_taylor._trace.read_sites import ReadSites
from keras_taylor.criteria._base import normalized

Array = NDArray[np.float64]


def spearman(a: Any, b: Any) -> float:
    """Spearman's rank correlation; 0 where one side is constant, which ranks nothing."""
    if len(a) < 2 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return 0.0
    return float(stats.spearmanr(a, b).statistic)


class Ranks:
    """Correlations of scores with a truth over the channels that may go.

    Attributes:
        free: these channels.
        tied: those of them that have several members: they are read at several places, as in residual streams.
    """

    def __init__(self, graph: ChannelGraph) -> None:
        self.free = np.flatnonzero(graph.locks == "")
        self.groups = [group.channels for group in graph.groups]
        self.layers = [channels for channels in (np.intersect1d(one, self.free) for one in self.groups) if len(channels) > 2]
        readers = np.zeros(graph.channels, int)
        for site in ReadSites(graph):
            readers[np.unique(site.channels)] += 1
        self.tied = self.free[readers[self.free] > 1]

    def per_layer(self, values: Array, truth: Array) -> float:
        """Spearman within each layer group of more than two channels, and the mean of these."""
        return float(np.mean([spearman(values[layer], truth[layer]) for layer in self.layers])) if self.layers else 0.0

    def raw(self, values: Array, truth: Array) -> float:
        """Spearman over all layers, of the scores as they are."""
        return spearman(values[self.free], truth[self.free])

    def l2(self, values: Array, truth: Array) -> float:
        """Spearman over all layers, of the scores divided by their layer's l2 norm."""
        return self.raw(normalized(values, self.groups, "l2"), truth)


def mean_interval(values: Sequence[float], confidence: float = 0.95) -> tuple[float, float]:
    """The mean, and half the width of its interval by Student's t; NaN for a single value."""
    found = np.asarray(values, float)
    if len(found) < 2:
        return float(found.mean()), float("nan")
    half = stats.t.ppf((1 + confidence) / 2, len(found) - 1) * found.std(ddof=1) / np.sqrt(len(found))
    return float(found.mean()), float(half)


def bootstrap(
    statistic: Callable[[NDArray[np.int64]], float], count: int, resamples: int = 1000, seed: int = 0
) -> tuple[float, float]:
    """The 95 % interval of a statistic of channels, which are resampled: `statistic(numbers of channels)`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", stats.DegenerateDataWarning)
        found = stats.bootstrap(
            (np.arange(count),), statistic, n_resamples=resamples, vectorized=False, method="percentile", rng=seed
        )
    return float(found.confidence_interval.low), float(found.confidence_interval.high)


def clear(values: Sequence[float]) -> bool:
    """Whether the 95 % interval of the mean excludes zero; a single value has none, nor have values that are all equal."""
    mean, half = mean_interval(values)
    return half > 0 and abs(mean) > half


def shown(values: Sequence[float], digits: int = 2) -> str:
    """`0.91 ± 0.02`: the mean and half the width of its 95 % interval; the value alone for one seed."""
    mean, half = mean_interval(values)
    mean = round(mean, digits) + 0.0  # no -0.00
    return f"{mean:.{digits}f}" if np.isnan(half) else f"{mean:.{digits}f} ± {half:.{digits}f}"
