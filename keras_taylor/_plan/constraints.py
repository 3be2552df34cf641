"""What a plan must respect."""

from __future__ import annotations

import numbers
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from keras_taylor._trace.graph import ChannelGraph
from keras_taylor.errors import BadInput, unknown_name


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
        for name in ("min_channels", "round_to"):
            value = getattr(self, name)
            if name == "round_to" and value is None:
                continue
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise BadInput(f"Constraints({name}=) must be a whole number of at least 1. Received: {value!r}.")
        if isinstance(self.keep, str):
            raise BadInput(f"Constraints(keep=) must be a list of names or a predicate. Received: {self.keep!r}.")
        for layer, bound in self.bounds.items():
            if not isinstance(bound, (tuple, list)) or len(bound) != 2 or not 0 <= bound[0] <= bound[1] or bound[1] <= 0:
                raise BadInput(f"Constraints(bounds=) must map a layer to (at least, at most). Received: {layer!r}: {bound!r}.")

    def kept_layers(self, names: Sequence[str]) -> list[str]:
        """The layers among `names` that `keep` names; an unknown name is an error with the nearest match."""
        if callable(self.keep):
            return [name for name in names if self.keep(name)]
        for name in self.keep:
            if name not in names:
                raise unknown_name("A layer in Constraints(keep=)", name, names)
        return list(self.keep)


def check_names(graph: ChannelGraph, rules: Constraints) -> None:
    """Raise `UnknownName` unless the layers that the constraints name are in the graph."""
    names = [name for _, name in graph.births]
    rules.kept_layers(names)
    for name in rules.bounds:
        if name not in names:
            raise unknown_name("A layer in Constraints(bounds=)", name, names)


def check_constraints(constraints: Constraints | None) -> None:
    """Raise `BadInput` unless `constraints` are such."""
    if constraints is not None and not isinstance(constraints, Constraints):
        raise BadInput(f"constraints must be kt.Constraints. Received: {constraints!r}. Write kt.Constraints(round_to=8).")


def lower_bound(rules: Constraints, name: str, width: int) -> int:
    bound = count_bound(rules.bounds[name][0], width) if name in rules.bounds else 1
    return min(max(rules.min_channels, bound), width)


def count_bound(bound: float, width: int) -> int:
    """A bound of `Constraints` in channels."""
    count = bound if isinstance(bound, numbers.Integral) else round(bound * width)
    return min(max(int(count), 1), width)
