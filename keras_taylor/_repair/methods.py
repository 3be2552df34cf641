"""The methods of repair by name, and in which combinations they are tried."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from keras_taylor._repair.batchnorm import BatchNorm
from keras_taylor._repair.method import RepairMethod
from keras_taylor._repair.refit import Bias, LeastSquares
from keras_taylor._repair.tune import Tune
from keras_taylor.errors import BadInput, positive, shown, unknown_name

METHODS: dict[str, type[RepairMethod]] = {kind.name: kind for kind in (Bias, LeastSquares, BatchNorm, Tune)}
Chain = tuple[RepairMethod, ...]


@dataclass(frozen=True)
class Auto:
    """`"auto"`: try the quick methods, go on from the best with `"tune"` where that pays, and keep what is best.

    Best is what agrees best with the original on held-back examples, if need be the unrepaired model.

    Args:
        seconds: budget of time for `"tune"`, beside that of the quick methods. It is left out with fewer than 512 examples,
            where the budget does not suffice for one pass over them, and for None. `kt.fit_with_pruning` leaves it out before
            another removal, and, if it was not asked for by a budget, before training that learns the same distance.

    Raises:
        BadInput: a value that cannot be used.

    Example:
        >>> import keras_taylor as kt
        >>> kt.Recipe(repair=kt.repairs.Auto(seconds=None)).repair.seconds is None
        True
    """

    seconds: float | None = 120.0

    def __post_init__(self) -> None:
        if self.seconds is not None:
            positive("seconds", self.seconds)

    def quick(self) -> list[Chain]:
        """The combinations of quick methods, each after the shorter one that it continues."""
        return [(BatchNorm(),), (Bias(),), (squares := LeastSquares(),), (squares, BatchNorm())]

    def thorough(self, best: Chain, examples: int) -> list[Chain]:
        """What to try after the best of the quick ones."""
        return [] if self.seconds is None or examples < ENOUGH else [(*best, Tune(seconds=self.seconds))]


ENOUGH = 512
"""From so many examples on, tuning learns more than these examples."""

Methods = str | RepairMethod | Auto | Sequence[str | RepairMethod]


def methods_for(given: Methods) -> Auto | Chain:
    """The methods that `given` stands for.

    Raises:
        UnknownName: no method has this name.
        BadInput: no method at all, or something else.
    """
    if isinstance(given, Auto):
        return given
    listed = (given,) if isinstance(given, (str, RepairMethod)) else tuple(given) if isinstance(given, Sequence) else ()
    if not listed or str(given).lower() in ("none", "false"):
        raise BadInput(
            f"method must name at least one of {(*METHODS, 'auto')}. Received: {shown(given)}. Write repair=None for none."
        )
    return Auto() if listed == ("auto",) else tuple(_method(one) for one in listed)


def chains_for(methods: Chain) -> list[Chain]:
    """The combinations to try, each after the shorter one that it continues."""
    if len(methods) == 1:
        methods = (*(METHODS[name]() for name in methods[0].first), *methods)
    return [methods[: i + 1] for i in range(len(methods))]


def _method(given: str | RepairMethod) -> RepairMethod:
    if isinstance(given, RepairMethod):
        return given
    if given == "auto" or isinstance(given, Auto):
        raise BadInput("'auto' chooses by itself, and goes with no other method. Received: 'auto' among others.")
    if not isinstance(given, str):
        raise BadInput(f"method must be a name or a kt.repairs.RepairMethod. Received: {shown(given)}.")
    if given not in METHODS:
        raise unknown_name("method of repair", given, (*METHODS, "auto"))
    return METHODS[given]()
