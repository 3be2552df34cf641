"""Multiply-accumulates and parameters as functions of what is kept. 1 MAC is 1, and "M" is a million of them.

Every weight is a product of lengths: constant ones, and those of at most two axes that follow labels. So a cost is a sum of
terms `coefficient * n[first] * n[second]` over the numbers `n` of kept positions per axis, and what the removal of a channel
saves is a matrix product (`Cost.slope`): ranking 100,000 channels takes seconds. Kernels that no rule names are constant terms.
"""

from __future__ import annotations

import copy
import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from keras_taylor._trace.hidden_kernels import HiddenKernels
from keras_taylor.rules import Ids, Step

Counts = NDArray[np.float64]


@dataclass(frozen=True)
class Terms:
    """A sum of products; axis 0 is the constant 1."""

    layers: tuple[str, ...]
    coefficient: NDArray[np.float64]
    first: NDArray[np.int64]
    second: NDArray[np.int64]

    def total(self, counts: Counts) -> float:
        """The sum for `counts` kept positions per axis."""
        return float(self.each(counts).sum())

    def each(self, counts: Counts) -> NDArray[np.float64]:
        """The terms themselves."""
        return self.coefficient * counts[self.first] * counts[self.second]

    def slope(self, counts: Counts) -> NDArray[np.float64]:
        """Derivative of the sum with respect to each axis."""
        slope = np.zeros(len(counts))
        slope += np.bincount(self.first, self.coefficient * counts[self.second], len(counts))
        slope += np.bincount(self.second, self.coefficient * counts[self.first], len(counts))
        return slope


class Cost:
    """The cost model of one graph.

    Attributes:
        full: kept positions per axis when nothing is removed, shape `(axes,)`.
        incidence: how many positions of each axis a channel occupies, shape `(channels, axes)`, sparse.
        producers: for every birth, the axis that counts its channels.
        hidden: multiply-accumulates of kernels that no rule names, by name of the call. They are constant parts of all sums.
        uncounted: by name of the call, why it has kernels that cannot be counted.
    """

    def __init__(
        self, steps: Sequence[Step], births: Sequence[Ids], channel: Ids, channels: int, kernels: HiddenKernels | None = None
    ) -> None:
        self._axes: dict[bytes, int] = {}
        self._ids: list[Ids] = [np.empty(0, np.int64)]
        self.producers = [self._axis(ids) for ids in births]
        for step in steps:
            for labels in step.outputs:
                if labels.axis is not None:
                    self._axis(labels.ids)
        self._kernels = kernels or HiddenKernels()
        self.hidden: dict[str, float] = {}
        self.uncounted = dict(self._kernels.uncounted)
        macs, params = self._weights(steps)
        self._terms = {
            "macs": _terms(macs),
            "params": _terms(params),
            "channels": _terms(("", 1, [axis]) for axis in self.producers),
        }
        rows = [channel[ids] for ids in self._ids]
        columns = np.repeat(np.arange(len(rows)), [len(row) for row in rows])
        flat = np.concatenate(rows)
        shape = (channels, len(self._ids))
        self.incidence = csr_array((np.ones(len(flat)), (flat, columns)), shape=shape)
        self.incidence.sum_duplicates()
        self.full = np.array([1, *(len(ids) for ids in self._ids[1:])], float)

    def _axis(self, ids: Ids) -> int:
        key = ids.tobytes()
        if key not in self._axes:
            self._axes[key] = len(self._ids)
            self._ids.append(ids)
        return self._axes[key]

    def _weights(self, steps: Sequence[Step]) -> tuple[list[tuple[str, float, list[int]]], list[tuple[str, float, list[int]]]]:
        macs, params = [], []
        counted: set[int] = set()
        for step in steps:
            operation, seen, known = step.call.operation, set(), 0.0
            for name, words in step.rule.weight_axes(operation).items():
                variable = getattr(operation, name)
                seen.add(id(variable))
                coefficient, axes = 1.0, []
                # A rule that refused the call returned no axes: then all lengths are constant.
                for length, word in zip(variable.shape, words.split() or ["."] * len(variable.shape), strict=True):
                    if word in step.axes:
                        axes.append(self._axis(step.axes[word]))
                    else:
                        coefficient *= length
                if name in step.rule.kernels:
                    uses = self._kernels.uses(step)
                    macs.append((step.call.name, coefficient * uses, axes))
                    known += math.prod(variable.shape) * uses
                if id(variable) not in counted:
                    params.append((step.call.name, coefficient, axes))
            for variable in getattr(operation, "weights", ()):
                if id(variable) not in seen | counted:
                    params.append((step.call.name, float(math.prod(variable.shape)), []))
            counted.update(id(variable) for variable in getattr(operation, "weights", ()))
            hidden = self._kernels.macs.get(id(step.call), 0.0) - known
            if hidden > 0:
                self.hidden[step.call.name] = hidden
                macs.append((step.call.name, hidden, []))
        return macs, params

    @property
    def budgets(self) -> tuple[str, ...]:
        """What can be counted: `"macs"`, `"params"`, `"channels"`, and what `extended` added."""
        return tuple(self._terms)

    def extended(self, budget: str, terms: Terms) -> Cost:
        """The same cost model with one more thing to count."""
        more = copy.copy(self)
        more._terms = {**self._terms, budget: terms}
        return more

    def axis(self, ids: Ids) -> int:
        """The axis that counts these labels; 0, the constant, where none of them can go."""
        return self._axes.get(ids.tobytes(), 0)

    def counts(self, keep: NDArray[np.bool_]) -> Counts:
        """Kept positions per axis for a boolean per channel."""
        counts = self.incidence.T @ keep.astype(float)
        counts[0] = 1
        return np.asarray(counts)

    def total(self, budget: str, counts: Counts) -> int:
        """One of `budgets` for `counts` kept positions per axis."""
        return round(self._terms[budget].total(counts))

    def totals(self, keep_channels: NDArray[np.bool_] | None = None) -> dict[str, int]:
        """All of `budgets`.

        Args:
            keep_channels: a boolean per channel, shape `(channels,)`; all channels are kept by default.
        """
        counts = self.full if keep_channels is None else self.counts(keep_channels)
        return {budget: self.total(budget, counts) for budget in self.budgets}

    def macs(self, counts: Counts) -> int:
        """Multiply-accumulates per example."""
        return self.total("macs", counts)

    def params(self, counts: Counts) -> int:
        """Parameters, trainable or not."""
        return self.total("params", counts)

    def slope(self, budget: str, counts: Counts) -> NDArray[np.float64]:
        """What one position less saves per axis, the other axes as they are; shape `(axes,)`."""
        return self._terms[budget].slope(counts)

    def together(self, budget: str, taken: Counts) -> float:
        """What `slope` counts twice when `taken` positions per axis go at once: the product of both sides of a term."""
        return self._terms[budget].total(taken)

    def positions(self, channels: NDArray[np.int64]) -> Counts:
        """How many positions of each axis these channels occupy, shape `(axes,)`."""
        taken, matrix = np.zeros(len(self.full)), self.incidence
        for channel in channels.tolist():
            row = slice(matrix.indptr[channel], matrix.indptr[channel + 1])
            taken[matrix.indices[row]] += matrix.data[row]
        return taken

    def kernels(self) -> list[tuple[str, float]]:
        """Layer and MACs of every kernel, unpruned, in the order of the calls.

        What a call computes with kernels that its rule does not name is one more entry, the last one of that call.
        """
        terms = self._terms["macs"]
        return list(zip(terms.layers, terms.each(self.full).tolist(), strict=True))

    def by_layer(self, counts: Counts | None = None) -> tuple[dict[str, float], dict[str, float]]:
        """MACs and parameters of every layer for `counts` kept positions per axis; of the unpruned model by default."""
        found = []
        for budget in ("macs", "params"):
            terms, sums = self._terms[budget], defaultdict[str, float](float)
            for layer, value in zip(terms.layers, terms.each(self.full if counts is None else counts), strict=True):
                sums[layer] += value
            found.append(dict(sums))
        return found[0], found[1]


def _terms(rows: Iterable[tuple[str, float, list[int]]]) -> Terms:
    layers, coefficients, axes = [], [], []
    for layer, coefficient, follows in rows:
        if len(follows) > 2:
            raise TypeError(f"A weight of {layer} follows {len(follows)} axes; at most two are supported.")
        layers.append(layer)
        coefficients.append(coefficient)
        axes.append([*follows, 0, 0][:2])
    pairs = np.array(axes, np.int64).reshape(-1, 2)
    return Terms(tuple(layers), np.array(coefficients, float), pairs[:, 0], pairs[:, 1])
