"""A blend of two criteria, Taylor and mean activation unless others are given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from keras_taylor.criteria._base import Criterion, criterion_for, normalized, register_criterion
from keras_taylor.criteria._statistics import Array, Record
from keras_taylor.errors import BadInput


@register_criterion("blend")
@dataclass(frozen=True)
class Blend(Criterion):
    """`first + weight * second`, both l2-normalised per layer, since without that the weight has no scale.

    Whether activations add anything to Taylor is an open question; there is no paper to cite.

    Args:
        weight: lambda. 0 is `first` alone; infinity is `second` alone.
        first: a criterion or its name.
        second: another one.
        flops: as in `Taylor`.

    Example:
        >>> import keras_taylor as kt
        >>> sorted(kt.criteria.Blend(weight=0.1).needs)
        ['activation', 'contribution']
    """

    weight: float = 1.0
    first: str | Criterion = "taylor"
    second: str | Criterion = "activation"
    flops: float = 0.0

    needs = frozenset({"contribution", "activation"})

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.weight >= 0:
            raise BadInput(f"weight of Blend must be a number of at least 0. Received: {self.weight!r}.")
        first, second = (criterion_for(one) for one in (self.first, self.second))
        self._fix(first=first, second=second, needs=first.needs | second.needs, by_batch=first.by_batch or second.by_batch)

    @property
    def parts(self) -> tuple[Criterion, Criterion]:
        """Both criteria."""
        return criterion_for(self.first), criterion_for(self.second)

    def init(self, channels: int, rng: np.random.Generator) -> Any:
        """The states of both, and the layer groups, which the first record will tell."""
        first, second = self.parts
        return first.init(channels, rng), second.init(channels, rng), None

    def update(self, state: Any, record: Record) -> Any:
        """Update both; a criterion that needs no data sees its statistics once."""
        *states, groups = state
        pairs = zip(self.parts, states, strict=True)
        states = [part.update(mine, record) if groups is None or part.needs_data else mine for part, mine in pairs]
        return *states, record.groups

    def result(self, state: Any) -> Array:
        """The weighted sum."""
        *states, groups = state
        pairs = zip(self.parts, states, strict=True)
        first, second = (part.result(mine) for part, mine in pairs)
        return blended(first, second, groups, self.weight)

    def settings(self) -> dict[str, Any]:
        """The options, with the parts by name."""
        parts = zip(("first", "second"), self.parts, strict=True)
        return {**super().settings(), **{side: f"{one.name} {one.settings()}" for side, one in parts}}


def blended(first: Array, second: Array, groups: Sequence[NDArray[np.int64]], weight: float) -> Array:
    """The weighted sum of two scores, both l2-normalised per layer; infinity is the second alone."""
    first, second = (normalized(one, groups, "l2") for one in (first, second))
    return second if np.isinf(weight) else first + weight * second
