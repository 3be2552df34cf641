"""`Record`: what a criterion may look at, and the table of the statistics that there are.

The statistics themselves are files of `keras_taylor._record.statistics`, each of which declares its name here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from keras_taylor.errors import BadInput

Array = NDArray[np.float64]

WEIGHTS, DATA, LOSS = "weights", "data", "loss"
"""What a statistic is computed from: the weights alone, the model's activations on data, or also a loss."""

_SOURCES: dict[str, str] = {}


@dataclass(frozen=True, eq=False)
class Filters:
    """A kernel: `kernel[i, f]` are the weights that belong to `channels[f]`."""

    kernel: Array
    channels: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Record:
    """What a criterion may look at: the first three attributes always, and the statistics that its `needs` name.

    A *site* is a place where channels are read; silencing a channel silences it at all of its sites, which are its *members*.
    Activations are those that are read there: after BatchNorm and ReLU, where these follow. Every statistic is an attribute,
    with one row for each example of the batch, shape `(batch, K)`, but for `labels` and what comes from weights.

    Attributes:
        channels: number of channels of the model, K.
        positions: size of each channel's map where it is born, shape `(K,)`; the paper's M.
        groups: the channels of each layer group.
        statistics: by name.
    """

    channels: int
    positions: Array
    groups: Sequence[NDArray[np.int64]]
    statistics: Mapping[str, Any] = field(default_factory=dict)

    if TYPE_CHECKING:  # statistics become properties when they are declared

        def __getattr__(self, name: str) -> Any: ...

    def _statistic(self, name: str) -> Any:
        if name not in self.statistics:
            raise BadInput(f"A criterion must name in `needs` what it looks at. Received: {name!r}, which is not named.")
        return self.statistics[name]


def declare_statistic(name: str, source: str, doc: str) -> None:
    """Let records have a statistic.

    Args:
        name: of the attribute, and in the `needs` of criteria.
        source: `WEIGHTS`, `DATA` or `LOSS`.
        doc: what it is, for `help(Record)`.
    """
    if name not in _SOURCES and (hasattr(Record, name) or name in Record.__dataclass_fields__):
        raise BadInput(f"The name of a statistic must be free. Received: {name!r}, which records have already.")
    _SOURCES[name] = source
    setattr(Record, name, property(lambda record: record._statistic(name), doc=doc))


def statistics_declared() -> bool:
    """Whether the table has been filled."""
    return bool(_SOURCES)


def statistics_from(*sources: str) -> frozenset[str]:
    """The names of the statistics that are computed from one of `sources`."""
    return frozenset(name for name, source in _SOURCES.items() if source in sources)


def check_needs(needs: Iterable[str]) -> None:
    """Raise `BadInput` unless every name is a statistic."""
    unknown = sorted(set(needs) - set(_SOURCES))
    if unknown:
        raise BadInput(f"needs of a criterion must be among {sorted(_SOURCES)}. Received: {unknown}.")
