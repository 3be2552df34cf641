"""What a criterion is, and where criteria are found. A criterion sees statistics, never a layer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

import numpy as np
from numpy.typing import NDArray

from keras_taylor.errors import BadInput, unknown_name

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Filters:
    """The kernel of one producer: `kernel[i, f]` are the weights of filter `f`, which belongs to `channels[f]`."""

    kernel: Array
    channels: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Record:
    """What a criterion may look at.

    Attributes:
        channels: number of channels of the model, K.
        positions: size of each channel's map where it is born, shape `(K,)`; the paper's M.
        contribution: dLoss/d(gate) of each example and channel, shape `(batch, K)`: the sum over positions, and over all
            tied members, of activation times gradient. Empty unless the criterion needs it.
        filters: the kernels of all producers. Empty unless the criterion needs them.
    """

    channels: int
    positions: Array
    contribution: Array
    filters: tuple[Filters, ...]


class Criterion:
    """Scores channels. `init`, `update` once per batch (once in all without data), `result`; the state is yours.

    Attributes:
        needs: what it looks at: `"contribution"` (needs labelled data), `"filters"`, or nothing.
        normalize: `"l2"` divides by the l2 norm in each layer group afterwards; None does not.
        flops: how much a million FLOPs of a channel's map (1 MAC is 2 FLOPs) lower its score, after normalisation.

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

    needs: ClassVar[frozenset[str]] = frozenset()
    name: str = "custom"
    normalize: str | None = None
    flops: float = 0.0

    def init(self, channels: int, rng: np.random.Generator) -> Any:
        """The state before any data; `rng` is seeded by `kt.score(seed=)`."""
        raise TypeError(f"{type(self).__name__} must define init, update and result.")

    def update(self, state: Any, record: Record) -> Any:
        """The state after one more batch."""
        return state

    def result(self, state: Any) -> Array:
        """One score per channel, shape `(channels,)`; higher is kept longer."""
        raise TypeError(f"{type(self).__name__} must define init, update and result.")

    def settings(self) -> dict[str, Any]:
        """The options, for reports."""
        return {name: value for name, value in vars(self).items() if not name.startswith("_")}

    @staticmethod
    def check_options(normalize: str | None, flops: float) -> None:
        """Raise `BadInput` unless both options are usable."""
        if normalize not in ("l2", None):
            raise BadInput(f"normalize of a criterion must be 'l2' or None. Received: {normalize!r}.")
        if not flops >= 0:
            raise BadInput(f"flops of a criterion must be a number of at least 0. Received: {flops!r}.")


_REGISTRY: dict[str, type[Criterion]] = {}
_Kind = TypeVar("_Kind", bound=type[Criterion])


def register_criterion(name: str) -> Callable[[_Kind], _Kind]:
    """Class decorator: `kt.score(criterion=name)` makes the criterion with its default options."""

    def register(kind: _Kind) -> _Kind:
        unknown = kind.needs - {"contribution", "filters"}
        if unknown:
            raise BadInput(f"needs of a criterion must be 'contribution' or 'filters'. Received: {sorted(unknown)}.")
        if name in _REGISTRY and _REGISTRY[name].__qualname__ != kind.__qualname__:
            raise BadInput(
                f"The name of a criterion must be free. Received: {name!r}, which is {_REGISTRY[name].__qualname__}."
            )
        kind.name = name
        _REGISTRY[name] = kind
        return kind

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
        return criterion
    if not isinstance(criterion, str):
        raise BadInput(f"criterion must be a name or a kt.Criterion instance. Received: {criterion!r}.")
    if criterion not in _REGISTRY:
        raise unknown_name("criterion", criterion, _REGISTRY)
    return _REGISTRY[criterion]()
