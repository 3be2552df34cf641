"""What a criterion is, and where criteria are found. A criterion sees statistics, never a layer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from keras_taylor._registry import Registry
from keras_taylor.criteria._statistics import DATA, LOSS, Array, Record, check_needs, statistics_declared, statistics_from
from keras_taylor.errors import BadInput, shown


class Criterion:
    """Scores channels. `init`, `update` once per batch (once in all without data), `result`; the state is yours.

    A criterion with options is a frozen dataclass: see `apoz.py` for a short one.

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

    @property
    def needs_data(self) -> bool:
        """Whether it looks at more than the weights."""
        return bool(self.needs & statistics_from(DATA, LOSS))

    @property
    def needs_loss(self) -> bool:
        """Whether it looks at the loss on labelled data."""
        return bool(self.needs & statistics_from(LOSS))

    def settings(self) -> dict[str, Any]:
        """The options, for reports."""
        return {name: value for name, value in vars(self).items() if not name.startswith("_") and name not in _NO_OPTIONS}

    def __post_init__(self) -> None:
        """Check the options of a criterion that is a dataclass; more of them are checked by overriding this."""
        if self.normalize not in ("l2", "mean", None):
            raise BadInput(f"normalize of a criterion must be 'l2', 'mean' or None. Received: {self.normalize!r}.")
        if not self.flops >= 0:
            raise BadInput(f"flops of a criterion must be a number of at least 0. Received: {self.flops!r}.")

    def check_option(self, option: str, allowed: Sequence[str]) -> None:
        """Raise `BadInput` unless the attribute `option` is one of the allowed words."""
        value = getattr(self, option)
        if value not in allowed:
            words = " or ".join(repr(word) for word in allowed)
            raise BadInput(f"{option} of {type(self).__name__} must be {words}. Received: {value!r}.")

    def _fix(self, **attributes: Any) -> None:
        """Set what follows from the options, such as `needs`; to be called in `__post_init__`, as dataclasses are frozen."""
        for name, value in attributes.items():
            object.__setattr__(self, name, value)


_NO_OPTIONS = ("needs", "by_batch")


class MeanOverExamples(Criterion):
    """A criterion that averages one number per example and channel over the examples: define `needs` and `each`.

    Example:
        >>> import numpy as np, keras_taylor as kt
        >>> class MeanSquare(kt.criteria.MeanOverExamples):
        ...     needs = frozenset({"contribution"})
        ...     def each(self, record):
        ...         return record.contribution ** 2
        >>> kt.testing.check_criterion(MeanSquare())
    """

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
    """A criterion that measures kernels, and sums over the members of each channel: define `measure`.

    Attributes:
        members: `"filters"` measures the filters that make a channel, as the papers do; `"group"` also the scales that it
            passes and the kernels that read it, as Torch-Pruning does.

    Example:
        >>> import numpy as np, keras_taylor as kt
        >>> class Largest(kt.criteria.KernelCriterion):
        ...     def measure(self, kernel):
        ...         return np.abs(kernel).max(axis=0)
        >>> kt.testing.check_criterion(Largest())
    """

    needs = frozenset({"filters"})
    members: str = "filters"

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_option("members", ("filters", "group"))
        self._fix(needs=frozenset({"filters"} if self.members == "filters" else {"filters", "readers", "scales"}))

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


_REGISTRY: Registry[type[Criterion]] = Registry("criterion")
_Kind = TypeVar("_Kind", bound=type[Criterion])


def register_criterion(name: str) -> Callable[[_Kind], _Kind]:
    """Class decorator: `kt.score(criterion=name)` makes the criterion with its default options."""

    def register(kind: _Kind) -> _Kind:
        if statistics_declared():  # the criteria of this package are registered before
            check_needs(kind.needs)
        return _REGISTRY.add(name, kind)

    return register


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
        remedy = (
            "kt.score_all(model, x, y, criteria=[...]) takes several."
            if isinstance(criterion, (list, tuple))
            else (
                f"Write {criterion.__name__}()."
                if isinstance(criterion, type)
                else "Write 'taylor', or kt.criteria.Taylor(spatial='sum')."
            )
        )
        raise BadInput(f"criterion must be a name or a kt.Criterion instance. Received: {shown(criterion)}. {remedy}")
    return _REGISTRY[criterion]()
