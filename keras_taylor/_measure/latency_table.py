"""The look-up: what LiteRT needs for each segment of a graph, as a function of its widths.

A segment that is `n_in` channels wide on one side and `n_out` on the other takes
`fixed + a * n_in + b * n_out + c * n_in * n_out`: the coefficients, none of them negative, are fitted to the times of small
files, the segment at full, half and quarter width. So a latency is a sum of the same kind of terms as MACs are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from keras_taylor._keras.progress import progress_bar
from keras_taylor._measure import timing
from keras_taylor._measure.latency_cache import Cache
from keras_taylor._measure.segments import Segment, cut
from keras_taylor._trace.cost import Terms
from keras_taylor._trace.graph import ChannelGraph
from keras_taylor.quantizers import Quantizer, quantizer_for
from keras_taylor.rules import Keep

Coefficients = tuple[float, float, float, float]
SHARES = ((1, 1), (2, 1), (1, 2), (2, 2), (4, 4))  # the widths on both sides are divided by these


@dataclass(frozen=True)
class LatencyTable:
    """Predicted time of the segments of one model, in nanoseconds.

    Attributes:
        coefficients: for the first call of each segment: fixed, per channel in, per channel out, per pair of both.
        unknown: segments that could not be timed alone; they count for nothing.
    """

    coefficients: Mapping[str, Coefficients]
    unknown: tuple[str, ...] = ()

    def terms(self, graph: ChannelGraph) -> Terms:
        """The predicted time as terms of the cost of that graph."""
        layers, coefficients, first, second = [], [], [], []
        for segment in cut(graph):
            ins, outs = _sides(graph, segment)
            sides = ((0, 0), (ins, 0), (outs, 0), (ins, outs))
            for value, (a, b) in zip(self.coefficients.get(segment.name, ()), sides, strict=False):
                layers.append(segment.name)
                coefficients.append(value)
                first.append(a)
                second.append(b)
        return Terms(tuple(layers), np.array(coefficients, float), np.array(first, np.int64), np.array(second, np.int64))

    def scaled(self, factor: float) -> LatencyTable:
        """The same table, every time multiplied."""
        times = {name: (factor * a, factor * b, factor * c, factor * d) for name, (a, b, c, d) in self.coefficients.items()}
        return replace(self, coefficients=times)

    def renamed(self, names: Mapping[str, str]) -> LatencyTable:
        """The same table for a model whose calls have other names."""
        known = {name: names[name] + "@".join(["", *name.split("@")[1:]]) for name in self.coefficients}
        return replace(self, coefficients={known[name]: found for name, found in self.coefficients.items()})


def look_up(
    graph: ChannelGraph,
    quantizer: str | Quantizer | None = None,
    threads: int = 1,
    verbose: Any = 0,
    shares: Sequence[tuple[int, int]] = SHARES,
) -> LatencyTable:
    """Time the segments of a graph on this machine; what the cache knows is not timed again.

    Args:
        graph: of the unpruned model.
        quantizer: the precision of the files.
        threads: of the interpreter.
        verbose: 0 is silent, 1 and `"auto"` show a progress bar.
        shares: by what the widths on both sides are divided; full width alone gives times that hold for this graph only.
    """
    precision = quantizer_for(quantizer).stand_in(integers=True)
    cache = Cache(threads, precision.name)
    seconds = cache.load()
    coefficients, unknown = {}, []
    segments = cut(graph)
    bar = progress_bar(len(segments), verbose)
    for segment in segments:
        variants = {Cache.key(segment.recipe(graph.keep_labels(keep))): keep for keep in _variants(graph, segment, shares)}
        missing = {key: graph.keep_labels(keep) for key, keep in variants.items() if key not in seconds}
        try:
            _time(segment, missing, precision, threads, seconds, cache)
        except (TypeError, ValueError, NotImplementedError, AttributeError, KeyError, RuntimeError):
            # A config that does not make the layer again, or an operation that LiteRT lacks.
            unknown.append(segment.name)
        else:
            counts = np.array([graph.cost.counts(keep)[list(_sides(graph, segment))] for keep in variants.values()])
            coefficients[segment.name] = fit(counts, np.array([1e9 * seconds[key] for key in variants]))
        bar.add(1)
    return LatencyTable(coefficients, tuple(unknown))


def fit(counts: NDArray[np.float64], times: NDArray[np.float64]) -> Coefficients:
    """The coefficients, at least 0, that come closest to the times: least squares of the relative errors.

    Args:
        counts: channels in and out, shape `(times, 2)`.
        times: shape `(times,)`.

    Returns:
        fixed, per channel in, per channel out, per pair.

    Example:
        >>> counts = np.array([[8, 4], [4, 4], [8, 2], [4, 2]], float)
        >>> [round(x, 3) for x in fit(counts, 5 + 3 * counts[:, 0] * counts[:, 1])]
        [5.0, 0.0, 0.0, 3.0]
    """
    full = np.maximum(counts.max(axis=0), 1)
    ins, outs = (counts / full).T
    found, _ = nnls(np.stack([np.ones_like(ins), ins, outs, ins * outs], axis=1) / times[:, None], np.ones_like(times))
    fixed, per_in, per_out, per_pair = found / np.array([1, full[0], full[1], full[0] * full[1]])
    return float(fixed), float(per_in), float(per_out), float(per_pair)


def _sides(graph: ChannelGraph, segment: Segment) -> tuple[int, int]:
    """The axes that count the channels on both sides of a segment."""
    return graph.cost.axis(segment.ins), graph.cost.axis(segment.outs)


def _variants(graph: ChannelGraph, segment: Segment, shares: Sequence[tuple[int, int]]) -> list[Keep]:
    """Which channels to keep to have the segment at the widths that are timed; locked channels stay."""
    steps = segment.steps
    ins = _free(graph, [labels.ids for labels in steps[0].inputs])
    outs = np.setdiff1d(_free(graph, [labels.ids for step in steps for labels in step.outputs]), ins)
    found = []
    for share_in, share_out in shares:
        keep = np.ones(graph.channels, bool)
        for channels, share in ((ins, share_in), (outs, share_out)):
            keep[channels[np.arange(len(channels)) % share > 0]] = False
        found.append(keep)
    return found


def _free(graph: ChannelGraph, ids: list[Any]) -> NDArray[np.int64]:
    channels = np.unique(graph.channel[np.concatenate([np.empty(0, np.int64), *ids])])
    return channels[graph.locks[channels] == ""]


def _time(
    segment: Segment,
    variants: Mapping[str, Keep],
    precision: Quantizer,
    threads: int,
    seconds: dict[str, float],
    cache: Cache,
) -> None:
    """Add the times of what is not known yet to `seconds` and to the cache."""
    if not variants:
        return
    files = [timing.file_like(segment.model(keep), precision, integers=True) for keep in variants.values()]
    timed = [latency.fastest_ms / 1000 for latency in timing.latencies(files, threads, seconds=0.5)]
    found = dict(zip(variants, timed, strict=True))
    seconds.update(found)
    cache.add(found)
