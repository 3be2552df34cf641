"""What a plan must respect."""

from __future__ import annotations

import numbers
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from keras_taylor._trace.graph import ChannelGraph
from keras_taylor.errors import BadInput, shown, unknown_name, whole_number


@dataclass(frozen=True)
class Constraints:
    """What a plan must respect.

    Args:
        min_channels: every producer keeps at least this many (or all, if it has fewer).
        round_to: a producer that shrinks keeps a multiple of this; 8 suits XNNPACK and GPUs. Among tied producers of different
            widths it holds for the widest. None is 1; with a latency budget, `kt.prune` and `kt.fit_with_pruning` then choose
            what keeps most under the budget, by measurement.
        keep: names of layers whose channels all stay, or a predicate on the name.
        bounds: for single layers `(at least, at most)`: ints count channels, floats are fractions of the layer's width.

    Raises:
        BadInput: a number that is out of range.

    Example:
        >>> import keras_taylor as kt
        >>> kt.Constraints(round_to=8, keep=["stem"], bounds={"block3_conv": (0.25, 0.75)}).round_to
        8
    """

    min_channels: int = 1
    round_to: int | None = None
    keep: Sequence[str] | Callable[[str], bool] = ()
    bounds: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "min_channels", whole_number("Constraints(min_channels=)", self.min_channels))
        if self.round_to is not None:
            object.__setattr__(self, "round_to", whole_number("Constraints(round_to=)", self.round_to))
        if not callable(self.keep) and (isinstance(self.keep, str) or not isinstance(self.keep, Iterable)):
            name = self.keep if isinstance(self.keep, str) else "stem"
            raise BadInput(
                f"Constraints(keep=) must be a list of names or a predicate. Received: {self.keep!r}. Write keep=[{name!r}]."
            )
        if not isinstance(self.bounds, Mapping):
            raise BadInput(f"Constraints(bounds=) must be a dictionary. Received: {self.bounds!r}. {_BOUNDS}")
        for layer, bound in self.bounds.items():
            if not _is_bound(bound):
                raise BadInput(
                    f"Constraints(bounds=) must map a layer to (at least, at most). Received: {layer!r}: {bound!r}. {_BOUNDS}"
                )

    def kept_layers(self, names: Sequence[str]) -> list[str]:
        """The layers among `names` that `keep` names; an unknown name is an error with the nearest match."""
        if callable(self.keep):
            return [name for name in names if self.keep(name)]
        for name in self.keep:
            if name not in names:
                raise unknown_name("A layer in Constraints(keep=)", str(name), names)
        return list(self.keep)

    def bounds_of(self, name: str, width: int) -> tuple[int, int]:
        """The least and the largest number of channels that the layer `name` may keep of its `width`."""
        least, most = (_count(bound, width) for bound in self.bounds.get(name, (1, width)))
        return min(max(self.min_channels, least), width), most


def constraints_for(given: Constraints | None) -> Constraints:
    """The constraints, or none.

    Raises:
        BadInput: something else.
    """
    if given is not None and not isinstance(given, Constraints):
        raise BadInput(f"constraints must be kt.Constraints. Received: {shown(given)}. Write kt.Constraints(round_to=8).")
    return given or Constraints()


def check_names(graph: ChannelGraph, constraints: Constraints) -> None:
    """Raise `UnknownName` unless the layers that the constraints name are in the graph."""
    names = [name for _, name in graph.births]
    constraints.kept_layers(names)
    for name in constraints.bounds:
        if name not in names:
            raise unknown_name("A layer in Constraints(bounds=)", str(name), names)


_BOUNDS = "Write bounds={'stem': (0.25, 1.0)}."


def _is_bound(bound: Any) -> bool:
    if not isinstance(bound, (tuple, list)) or len(bound) != 2 or not all(isinstance(one, numbers.Real) for one in bound):
        return False
    least, most = map(float, bound)
    return 0 <= least <= most and most > 0


def _count(bound: float, width: int) -> int:
    """A bound, which is a number of channels or a fraction of them, in channels."""
    count = bound if isinstance(bound, numbers.Integral) else round(bound * width)
    return min(max(int(count), 1), width)
