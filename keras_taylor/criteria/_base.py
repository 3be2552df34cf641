"""What a criterion is, and where criteria are found. A criterion sees statistics, never a layer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from keras_taylor.errors import BadInput, unknown_name

Array = NDArray[np.float64]

FROM_WEIGHTS = frozenset({"filters", "readers", "scales"})
"""Statistics that need no data."""

FROM_LOSS = frozenset(
    {"contribution", "absolute_members", "absolute_positions", "gradient", "gradient_square"}
    | {"gauss_newton", "hutchinson", "linear_change"}
)
"""Statistics that need labelled data and a loss."""

FROM_DATA = FROM_LOSS | {"activation", "activation_square", "variance", "zeros", "labels", "fisher"}
"""Statistics that need data."""

STATISTICS = FROM_WEIGHTS | FROM_DATA


@dataclass(frozen=True, eq=False)
class Filters:
    """A kernel: `kernel[i, f]` are the weights that belong to `channels[f]`."""

    kernel: Array
    channels: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Record:
    """What a criterion may look at: always the first three attributes, and the statistics that its `needs` name.

    A *site* is a place where channels are read; silencing a channel silences it at all of its sites, which are its *members*.
    Activations are those that are read there: after BatchNorm and ReLU, where these follow. Everything has one row for each
    example of the batch, shape `(batch, K)`, but `labels` and what comes from weights.

    Attributes:
        channels: number of channels of the model, K.
        positions: size of each channel's map where it is born, shape `(K,)`; the paper's M.
        groups: the channels of each layer group.
        contribution: dLoss/d(gate): the sum over positions and members of activation times gradient.
        absolute_members: the same, with the absolute value of what each member adds up to.
        absolute_positions: the same, with the absolute value at every position of every member.
        gradient: sum over positions and members of the absolute gradient.
        gradient_square: the same of its square.
        activation: mean of the channel's activations.
        activation_square: sum over positions and members of the square.
        variance: variance of the channel's activations within the example.
        zeros: share of the channel's activations that are zero.
        labels: class of each example, shape `(batch,)`.
        gauss_newton: diagonal of the Gauss-Newton matrix of the loss with respect to the gates, exact; where the net is
            piecewise linear, d2Loss/d(gate)2.
        fisher: an unbiased estimate of it for softmax and sigmoid outputs, from labels drawn from the model's predictions.
        linear_change: the change of the loss when the channel is silenced, if the model's logits (or other outputs) were linear
            in its gate.
        hutchinson: an unbiased estimate of d2Loss/d(gate)2, from random directions.
        filters: the kernels of all producers, by filter.
        readers: the kernels of all consumers, by the channel that they read.
        scales: the factors of all normalisations (BatchNorm's gamma).
    """

    channels: int
    positions: Array
    groups: Sequence[NDArray[np.int64]]
    statistics: Mapping[str, Any] = field(default_factory=dict)

    def __getattr__(self, name: str) -> Any:
        if name in STATISTICS and name not in self.statistics:
            raise BadInput(f"A criterion must name in `needs` what it looks at. Received: {name!r}, which is not named.")
        if name in STATISTICS:
            return self.statistics[name]
        raise AttributeError(f"A record has no {name!r}. It has: {', '.join(sorted(STATISTICS))}.")


class Criterion:
    """Scores channels. `init`, `update` once per batch (once in all without data), `result`; the state is yours.

    Attributes:
        needs: the statistics of a `Record` that it looks at, of the class or of one instance; only these are computed.
        normalize: what each layer group is divided by afterwards: `"l2"` is its l2 norm, `"mean"` its mean; None is nothing.
        flops: how much a million FLOPs of a channel's map (1 MAC is 2 FLOPs) lower its score, after normalisation.
        by_batch: whether a batch counts as a whole, so that the size of the batches matters.

    Example:
        >>> import numpy as np, keras_taylor as kt
        >>> @kt.register_criterion("signed")
        ... class Signed(kt.Criterion):
        ...     needs = frozenset({"contribution"})
        ...     def init(self, channels, rng):
        ...         return np.zeros(channels)
        ...     def update(self, state, record):
        ...         return state + record.contribution.sum(axis=0)
        ...     def result(self, state):
        ...         return abs(state)
        >>> kt.testing.check_criterion("signed")
    """

    needs: frozenset[str] = frozenset()
    name: str = "custom"
    normalize: str | None = None
    flops: float = 0.0
    by_batch: bool = False

    def init(self, channels: int, rng: np.random.Generator) -> Any:
        """The state before any data; `rng` is seeded by `kt.score(seed=)`."""
        raise TypeError(f"{type(self).__name__} must define init, update and result.")

    def update(self, state: Any, record: Record) -> Any:
        """The state after one more batch."""
        return state

    def result(self, state: Any) -> Array:
        """One score per channel, shape `(channels,)`; higher is kept longer, NaN where there was nothing to look at."""
        raise TypeError(f"{type(self).__name__} must define init, update and result.")

    def settings(self) -> dict[str, Any]:
        """The options, for reports."""
        return {name: value for name, value in vars(self).items() if not name.startswith("_") and name not in _NO_OPTIONS}

    @staticmethod
    def check_options(normalize: str | None, flops: float) -> None:
        """Raise `BadInput` unless both options are usable."""
        if normalize not in ("l2", "mean", None):
            raise BadInput(f"normalize of a criterion must be 'l2', 'mean' or None. Received: {normalize!r}.")
        if not flops >= 0:
            raise BadInput(f"flops of a criterion must be a number of at least 0. Received: {flops!r}.")

    def check_option(self, option: str, allowed: Sequence[str]) -> None:
        """Raise `BadInput` unless the attribute `option` is one of the allowed words."""
        value = getattr(self, option)
        if value not in allowed:
            words = " or ".join(repr(word) for word in allowed)
            raise BadInput(f"{option} of {type(self).__name__} must be {words}. Received: {value!r}.")


_NO_OPTIONS = ("needs", "by_batch")


class MeanOverExamples(Criterion):
    """A criterion that averages one number per example and channel over the examples.

    Args:
        normalize: `"l2"` or `"mean"` per layer group, or None.
        flops: what a million FLOPs of the map take off the score.
    """

    def __init__(self, normalize: str | None = None, flops: float = 0.0) -> None:
        self.check_options(normalize, flops)
        self.normalize = normalize
        self.flops = flops

    def each(self, record: Record) -> Array:
        """One number per example and channel, shape `(batch, K)`."""
        raise TypeError(f"{type(self).__name__} must define each.")

    def init(self, channels: int, rng: np.random.Generator) -> tuple[Array, int]:
        """Sum, and number of examples."""
        return np.zeros(channels), 0

    def update(self, state: tuple[Array, int], record: Record) -> tuple[Array, int]:
        """Add a batch."""
        total, examples = state
        found = self.each(record)
        return total + found.sum(axis=0), examples + len(found)

    def result(self, state: tuple[Array, int]) -> Array:
        """The mean over the examples."""
        total, examples = state
        return total / examples


class KernelCriterion(Criterion):
    """A criterion that measures kernels: a sum over the members of each channel.

    Args:
        members: `"filters"` measures the filters that make a channel, as the papers do; `"group"` also the scales that it
            passes and the kernels that read it, as Torch-Pruning does.
        normalize: `"l2"` or `"mean"` per layer group, or None.
        flops: what a million FLOPs of the map take off the score.
    """

    def __init__(self, members: str = "filters", normalize: str | None = "l2", flops: float = 0.0) -> None:
        self.check_options(normalize, flops)
        self.members = members
        self.check_option("members", ("filters", "group"))
        self.normalize = normalize
        self.flops = flops
        self.needs = frozenset({"filters"}) if members == "filters" else FROM_WEIGHTS

    def measure(self, kernel: Array) -> Array:
        """One number for each column of `kernel`."""
        raise TypeError(f"{type(self).__name__} must define measure.")

    def init(self, channels: int, rng: np.random.Generator) -> Array:
        """Nothing measured yet."""
        return np.zeros(channels)

    def update(self, state: Array, record: Record) -> Array:
        """Add all members."""
        for name in sorted(self.needs):
            for part in getattr(record, name):
                state = state + np.bincount(part.channels, self.measure(part.kernel), record.channels)
        return state

    def result(self, state: Array) -> Array:
        """The sum over the members."""
        return state


def normalized(values: Array, groups: Sequence[NDArray[np.int64]], how: str | None) -> Array:
    """Divide each layer group by its l2 norm, or by its mean (a group without size stays as it is)."""
    if how is None:
        return values
    values = values.copy()
    for channels in groups:
        mine = values[channels]
        size = np.sqrt((mine**2).sum()) if how == "l2" else mine.mean()
        values[channels] = mine / (size or 1.0)
    return values


_REGISTRY: dict[str, type[Criterion]] = {}
_Kind = TypeVar("_Kind", bound=type[Criterion])


def register_criterion(name: str) -> Callable[[_Kind], _Kind]:
    """Class decorator: `kt.score(criterion=name)` makes the criterion with its default options."""

    def register(kind: _Kind) -> _Kind:
        check_needs(kind.needs)
        if name in _REGISTRY and _REGISTRY[name].__qualname__ != kind.__qualname__:
            raise BadInput(
                f"The name of a criterion must be free. Received: {name!r}, which is {_REGISTRY[name].__qualname__}."
            )
        kind.name = name
        _REGISTRY[name] = kind
        return kind

    return register


def check_needs(needs: frozenset[str]) -> None:
    """Raise `BadInput` unless every name is a statistic."""
    unknown = sorted(needs - STATISTICS)
    if unknown:
        raise BadInput(f"needs of a criterion must be among {sorted(STATISTICS)}. Received: {unknown}.")


def registered() -> dict[str, type[Criterion]]:
    """A copy of the registry: name -> class."""
    return dict(_REGISTRY)


def criterion_for(criterion: str | Criterion) -> Criterion:
    """The criterion of that name with its defaults, or the criterion itself.

    Raises:
        UnknownName: no criterion has this name; the nearest match is named.
        BadInput: neither a name nor a criterion.
    """
    if isinstance(criterion, Criterion):
        check_needs(criterion.needs)
        return criterion
    if not isinstance(criterion, str):
        raise BadInput(f"criterion must be a name or a kt.Criterion instance. Received: {criterion!r}.")
    if criterion not in _REGISTRY:
        raise unknown_name("criterion", criterion, _REGISTRY)
    return _REGISTRY[criterion]()
