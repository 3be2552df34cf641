"""The methods of repair by name, and in which combinations they are tried."""

from __future__ import annotations

from collections.abc import Sequence

from keras_taylor._repair.batchnorm import BatchNorm
from keras_taylor._repair.method import RepairMethod
from keras_taylor._repair.refit import Bias, LeastSquares
from keras_taylor._repair.tune import Tune
from keras_taylor.errors import BadInput, shown, unknown_name

METHODS: dict[str, type[RepairMethod]] = {kind.name: kind for kind in (Bias, LeastSquares, BatchNorm, Tune)}
Chain = tuple[RepairMethod, ...]
Methods = str | RepairMethod | Sequence[str | RepairMethod]


def methods_for(given: Methods) -> Chain:
    """The methods that `given` stands for; none for `"auto"`, which chooses by itself.

    Raises:
        UnknownName: no method has this name.
        BadInput: no method at all, or something else.
    """
    listed = (given,) if isinstance(given, (str, RepairMethod)) else tuple(given) if isinstance(given, Sequence) else ()
    if not listed:
        raise BadInput(f"method must name at least one of {(*METHODS, 'auto')}. Received: {shown(given)}.")
    if listed == ("auto",):
        return ()
    return tuple(_method(one) for one in listed)


def chains_for(methods: Chain) -> list[Chain]:
    """The combinations to try, each after the shorter one that it continues."""
    if not methods:
        return [(BatchNorm(),), (Bias(),), (squares := LeastSquares(),), (squares, BatchNorm())]
    if len(methods) == 1:
        methods = (*(METHODS[name]() for name in methods[0].first), *methods)
    return [methods[: i + 1] for i in range(len(methods))]


def _method(given: str | RepairMethod) -> RepairMethod:
    if isinstance(given, RepairMethod):
        return given
    if given == "auto":
        raise BadInput("'auto' chooses by itself, and goes with no other method. Received: 'auto' among others.")
    if not isinstance(given, str):
        raise BadInput(f"method must be a name or a kt.repairs.RepairMethod. Received: {shown(given)}.")
    if given not in METHODS:
        raise unknown_name("method of repair", given, (*METHODS, "auto"))
    return METHODS[given]()
