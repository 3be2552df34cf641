"""Channels by activation and gradient, each high or low in its layer, and what two criteria remove there."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from keras_taylor.criteria import Activation, Criterion, MeanOverExamples, Record, Taylor
from keras_taylor.errors import BadInput
from keras_taylor.studies._lab import Lab, Mask
from keras_taylor.studies._statistics import Array


class GradientSize(MeanOverExamples):
    """Mean over examples and positions of the absolute gradient of the loss with respect to the activation."""

    needs = frozenset({"gradient"})

    def each(self, record: Record) -> Array:
        """The mean of each example."""
        found: Array = record.gradient / record.positions
        return found


class Alignment(MeanOverExamples):
    """Mean over examples of `|z . g| / (|z| |g|)`, with activations z and gradients g; 0 where either is zero.

    What is left of Taylor without the sizes of both: log T = log |z| + log |g| + log alignment, for each example.
    """

    needs = frozenset({"contribution", "activation_square", "gradient_square"})

    def each(self, record: Record) -> Array:
        """The absolute cosine of each example."""
        size = np.sqrt(record.activation_square * record.gradient_square)
        found = np.divide(np.abs(record.contribution), size, out=np.zeros_like(size), where=size > 0)
        return np.minimum(found, 1.0)  # rounding, where gradients are tiny


CRITERIA: dict[str, Criterion] = {
    "activation": Activation(normalize=None),
    "gradient": GradientSize(),
    "Taylor": Taylor(normalize=None),
    "alignment": Alignment(),
}
QUADRANTS = ("high a, high g", "high a, low g", "low a, high g", "low a, low g")
PLAYERS = ("high a, low g", "low a, high g", "rest")


def percentiles(values: Array, layers: Sequence[NDArray[np.int64]]) -> Array:
    """Ranks within each layer, between 0 and 1; equal values share their mean rank. NaN elsewhere."""
    found = np.full(len(values), np.nan)
    for layer in layers:
        found[layer] = (rankdata(values[layer]) - 0.5) / len(layer)
    return found


class Sample:
    """What one sample says about the channels.

    Attributes:
        ranks: percentiles by each criterion, and by the absolute oracle.
        oracle: absolute.
        quadrant: of each channel, by name; empty for those that are not decided about.
    """

    def __init__(self, lab: Lab, layers: Sequence[NDArray[np.int64]], seed: int) -> None:
        self.layers = layers
        scores = lab.scores(CRITERIA, seed)
        self.oracle = np.abs(lab.oracle(seed))
        self.ranks = {name: percentiles(values, layers) for name, values in (scores | {"oracle": self.oracle}).items()}
        self.quadrant = np.full(lab.graph.channels, "", dtype="U20")
        for layer in layers:
            a, g = (scores[name][layer] for name in ("activation", "gradient"))
            high_a, high_g = a > np.median(a), g > np.median(g)
            for name, chosen in zip(
                QUADRANTS, (high_a & high_g, high_a & ~high_g, ~high_a & high_g, ~high_a & ~high_g), strict=True
            ):
                self.quadrant[layer[chosen]] = name

    def removed(self, share: float, rank: Array) -> Mask:
        """The channels that go: the lowest of each layer."""
        found = np.zeros(len(rank), bool)
        for layer in self.layers:
            found[layer[np.argsort(rank[layer], kind="stable")[: count_of(layer, share)]]] = True
        return found

    def mask(self, share: float, coalition: frozenset[str]) -> Mask:
        """What stays when Taylor ranks the channels of a coalition, and activation the others."""
        player = np.where(np.isin(self.quadrant, PLAYERS), self.quadrant, "rest")
        return ~self.removed(share, np.where(np.isin(player, list(coalition)), self.ranks["Taylor"], self.ranks["activation"]))

    def disagreements(self, share: float) -> tuple[Mask, Mask]:
        """The channels that activation alone removes, and those that Taylor alone removes."""
        a, t = (self.removed(share, self.ranks[name]) for name in ("activation", "Taylor"))
        return a & ~t, t & ~a


def layers_of(lab: Lab) -> list[NDArray[np.int64]]:
    """The free channels of each layer group that has at least two, so that there is something to decide."""
    free = [np.intersect1d(channels, lab.ranks.free) for channels in lab.ranks.groups]
    found = [channels for channels in free if len(channels) > 1]
    if not found:
        raise BadInput(
            "The model must have a layer group with at least two channels that may go. "
            f"Received: {lab.graph.name!r}, which has none."
        )
    return found


def count_of(layer: NDArray[np.int64], share: float) -> int:
    """How many channels a layer loses; one stays."""
    return min(round(share * len(layer)), len(layer) - 1)
