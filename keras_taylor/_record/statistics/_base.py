"""What a statistic is: where it looks, and how what it finds there becomes one number per example and channel.

A new statistic is one file beside this one: a subclass of the kind below that fits, under `@register_statistic("name")`. Its
docstring is what `help(kt.criteria.Record)` shows, and criteria name it in their `needs`.
"""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from typing import Any, ClassVar, TypeVar

import numpy as np
from numpy.typing import NDArray

from keras_taylor._record.backward import Backward
from keras_taylor._record.forward import Forward
from keras_taylor._trace.graph import ChannelGraph
from keras_taylor._trace.read_sites import ReadSite, ReadSites
from keras_taylor.criteria import Filters
from keras_taylor.criteria._statistics import DATA, LOSS, WEIGHTS, Array, declare_statistic

Columns = dict[str, Any]
"""Arrays by name; each has a row per example, and a column for every position of every site (or for every channel)."""

Pass = Callable[[Any, Any, Any, Any], Columns]
"""A pass over a batch: `(x, y, sample weights, scale) -> columns`."""


class Statistic(ABC):
    """One thing that is recorded of every channel.

    Attributes:
        name: under which it is registered.
        source: `WEIGHTS`, `DATA` or `LOSS`: what it is computed from.
        per_channel: whether what it finds has a column per channel already, not one per position that is read.
        takes_sampled_labels: whether it has a meaning where labels are drawn from the model's predictions.
        draws_labels: whether it draws labels from them itself, whatever labels are given.
    """

    name: ClassVar[str]
    source: ClassVar[str] = DATA
    per_channel: ClassVar[bool] = False
    takes_sampled_labels: ClassVar[bool] = True
    draws_labels: ClassVar[bool] = False

    def caveats(self, graph: ChannelGraph, kinds: list[str]) -> list[str]:
        """Warnings about what it does not tell of a model.

        Args:
            graph: of the model.
            kinds: of the model's outputs, as `output_kinds` tells.
        """
        return []

    def separate_pass(self, forward: Forward, draws: int, seed: int) -> Pass | None:
        """A compiled pass over a batch besides the common one, where that is not enough."""
        return None

    def from_batch(self, columns: Columns, sites: ReadSites, y: Any) -> Any:
        """The statistic of one batch, shape `(batch, channels)`.

        Args:
            columns: all that was recorded.
            sites: where channels are read; they add up columns.
            y: the labels of the batch.
        """
        return columns[self.name] if self.per_channel else sites.to_channels(columns[self.name])

    def example(self, rng: np.random.Generator, examples: int, channels: int) -> Any:
        """Random values that it could have, for contract tests."""
        return np.abs(rng.normal(size=(examples, channels)))


class WeightStatistic(Statistic):
    """A statistic of the weights alone."""

    source = WEIGHTS

    @abstractmethod
    def measure(self, graph: ChannelGraph) -> tuple[Filters, ...]:
        """Kernels, and the channels that their columns belong to."""

    def example(self, rng: np.random.Generator, examples: int, channels: int) -> Any:
        """One kernel, with a column per channel."""
        return (Filters(rng.normal(size=(9, channels)), np.arange(channels)),)


class ReadStatistic(Statistic):
    """A statistic of the values that are read, forward alone."""

    @abstractmethod
    def at_site(self, values: Any) -> Columns:
        """What is recorded at one site.

        Args:
            values: a tensor of the activations that are read there, shape `(batch, positions of the map, positions of the
                axis)`.

        Returns:
            Tensors of shape `(batch, positions of the axis)`. Statistics that record the same thing under the same name
            share it.
        """


class ProbeStatistic(Statistic):
    """A sum over positions of a function of activations and of gradients of the loss there: see its two kinds below.

    Attributes:
        probe: name of what is recorded; statistics with the same one share it.
        degree: how many times the gradient stands in the function as a factor.
    """

    source = LOSS
    probe: ClassVar[str]
    degree: ClassVar[int] = 1

    def from_batch(self, columns: Columns, sites: ReadSites, y: Any) -> Array:
        """The sum over all positions that are read, members included."""
        return sites.to_channels(columns[self.probe])


class GradientStatistic(ProbeStatistic):
    """A sum over positions of one function for all sites."""

    @abstractmethod
    def at_position(self, activation: Any, gradient: Any) -> Any:
        """The function, of tensors of the same shape."""


class SiteFit(ABC):
    """What a `FittedStatistic` learns of the activations that one site reads, and the function that it makes of it."""

    @abstractmethod
    def sums(self, values: Any) -> Sequence[Any]:
        """Tensors of one batch, which are added up over all batches; `values` as in `ReadStatistic.at_site`."""

    @abstractmethod
    def solve(self, sums: Sequence[NDArray[Any]]) -> None:
        """Learn from the sums over all batches. May be called again, with those of other data."""

    @abstractmethod
    def at_position(self, activation: Any, gradient: Any) -> Any:
        """The function, of tensors of shape `(batch, positions of the map, positions of the axis)`; returns one of them."""


class FittedStatistic(ProbeStatistic):
    """A sum over positions of a function that is fitted to the activations of each site before.

    It takes one more pass over the data, forward alone.
    """

    @abstractmethod
    def fit_at(self, site: ReadSite) -> SiteFit:
        """What has still to be fitted there."""


class BackwardStatistic(Statistic):
    """A statistic that goes back through the recorded pass once more, or several times."""

    @abstractmethod
    def target(self, back: Backward) -> Any:
        """What it will differentiate; called while the tape records."""

    @abstractmethod
    def measure(self, back: Backward, target: Any) -> Any:
        """What it finds, shape `(batch, columns)`, or `(batch, channels)` where it is `per_channel`."""


_REGISTRY: dict[str, Statistic] = {}
_Kind = TypeVar("_Kind", bound=type[Statistic])


def register_statistic(name: str) -> Callable[[_Kind], _Kind]:
    """Class decorator: criteria may name the statistic in their `needs`, and find it in a record under this name."""

    def register(kind: _Kind) -> _Kind:
        kind.name = name
        declare_statistic(name, kind.source, inspect.getdoc(kind) or "")
        _REGISTRY[name] = kind()
        return kind

    return register


def statistics_named(names: Iterable[str]) -> list[Statistic]:
    """The statistics of these names, in a fixed order."""
    return [_REGISTRY[name] for name in sorted(names)]
