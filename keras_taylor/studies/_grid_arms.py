"""What study `grid` does with a trained net."""

from __future__ import annotations

from keras_taylor.criteria import Criterion, criterion_for, registered
from keras_taylor.errors import BadInput, unknown_name

LIBRARY = "library"
"""The library's default recipe: another criterion and order, repair, distillation, a gentle rate."""
UNPRUNED = "unpruned"
"""The unpruned net, trained for as long: N + M."""
ARMS = ("taylor", "activation", "magnitude", "obd", "random", LIBRARY, UNPRUNED)
"""Those of the paper (`"magnitude"` is its minimum weight), and both above."""
TITLES = {
    "taylor": "Taylor",
    "activation": "mean activation",
    "magnitude": "minimum weight",
    "obd": "OBD",
    "random": "random",
    LIBRARY: "library's default",
    UNPRUNED: "unpruned, N + M",
}

# What the paper's table has, and what the library ranks by: as they are before any normalisation.
_NORMALIZED = ("magnitude", "activation", "activation_std", "apoz", "taylor")
_AS_THEY_ARE = ("obd", "taylor_gate", "random")


def raw_criteria() -> dict[str, Criterion]:
    """The criteria whose correlation with the oracle is measured."""
    raw = {name: registered()[name](normalize=None) for name in _NORMALIZED}  # type: ignore[call-arg]
    return raw | {name: criterion_for(name) for name in _AS_THEY_ARE}


def arms_for(names: list[str]) -> list[str]:
    """The arms, if they are known, and none twice.

    Raises:
        UnknownName: neither an arm nor a criterion has this name.
        BadInput: names that repeat, or none.
    """
    known = [*ARMS, *registered()]
    for name in names:
        if name not in known:
            raise unknown_name("criterion or arm", name, known)
    if not names or len(set(names)) < len(names):
        raise BadInput(f"criteria must be different, and at least one. Received: {names}.")
    return names


def title(arm: str) -> str:
    """As tables and figures call it."""
    return TITLES.get(arm, arm)
