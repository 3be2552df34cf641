"""How study `grid` trains, prunes and measures, as one value."""

from __future__ import annotations

import math
import numbers
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from keras_taylor.errors import BadInput, positive, shown, unknown_name, whole_number


@dataclass(frozen=True)
class GridRecipe:
    """How a net of study `grid` is trained and pruned. Training is SGD with momentum on mirrored and moved images.

    Args:
        epochs: N, on the task, before pruning.
        learning_rate: of these.
        cosine: whether the rate of these rises for a tenth of the updates, and falls to 0 along a cosine; else it is constant.
        updates: mini-batches between two removals. M is all of them.
        pruning_rate: the learning rate between removals, constant.
        maps: how many maps go at a time: a whole number, or a share of all maps, below 1.
        every: the test images are shown the net after each of so many removals, and after the last one.
        until: the share of the maps at which pruning ends.
        momentum: of SGD.
        weight_decay: of SGD, times the learning rate.
        batch_size: of training.
        examples: training images that maps are scored on before each removal.
        oracle_examples: training images that the correlation with the oracle is measured on; 0 leaves it out.
        library_steps: into how many calls of `kt.fit_with_pruning` M is divided where the library's own recipe prunes; each
            leaves 60 % of the multiply-accumulates.
        augment: whether images are mirrored and moved.

    Raises:
        BadInput: a value that cannot be used.

    Example:
        >>> GridRecipe(maps=0.04, until=0.5).removals(100)
        13
    """

    epochs: int = 20
    learning_rate: float = 1e-3
    cosine: bool = False
    updates: int = 10
    pruning_rate: float = 1e-4
    maps: float = 1
    every: int = 50
    until: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 1e-4
    batch_size: int = 32
    examples: int = 320
    oracle_examples: int = 512
    library_steps: int = 4
    augment: bool = True

    def __post_init__(self) -> None:
        for name, least in (
            ("epochs", 1),
            ("updates", 1),
            ("every", 1),
            ("batch_size", 1),
            ("examples", 1),
            ("library_steps", 1),
        ):
            object.__setattr__(self, name, whole_number(name, getattr(self, name), least))
        object.__setattr__(self, "oracle_examples", whole_number("oracle_examples", self.oracle_examples, 0))
        for name in ("learning_rate", "pruning_rate"):
            object.__setattr__(self, name, positive(name, getattr(self, name)))
        for name, below in (("momentum", 1.0), ("weight_decay", math.inf)):
            value = getattr(self, name)
            if not isinstance(value, numbers.Real) or not 0 <= float(value) < below:
                raise BadInput(f"{name} must be a number from 0 on, below {below:g}. Received: {shown(value)}.")
        if not isinstance(self.until, numbers.Real) or not 0 < self.until < 1:
            raise BadInput(f"until must be a share of the maps, between 0 and 1. Received: {shown(self.until)}. Write 0.1.")
        if not (0 < positive("maps", self.maps) < 1):
            object.__setattr__(self, "maps", whole_number("maps (at 1 or above)", _whole(self.maps)))

    def at_once(self, total: int) -> int:
        """How many of `total` maps go at a time."""
        return max(round(self.maps * total), 1) if self.maps < 1 else int(self.maps)

    def left(self, total: int) -> int:
        """How many of `total` maps stay at the end."""
        return max(math.ceil(self.until * total), 1)

    def removals(self, total: int) -> int:
        """How many removals lead there."""
        return math.ceil((total - self.left(total)) / self.at_once(total))

    def settings(self) -> dict[str, Any]:
        """The options as JSON values."""
        return asdict(self)


def _whole(value: float) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value


_SMALL = GridRecipe(
    epochs=40,
    learning_rate=0.01,
    cosine=True,
    updates=20,
    pruning_rate=1e-3,
    maps=0.04,
    every=2,
    weight_decay=5e-4,
    examples=256,
    oracle_examples=128,
)
RECIPES: dict[str, Mapping[str, GridRecipe]] = {
    # Molchanov et al. 2017, as section 4 says.
    "paper": {
        "alexnet": GridRecipe(epochs=20, learning_rate=1e-3, updates=10, examples=320),
        "vgg16": GridRecipe(epochs=60, learning_rate=1e-4, updates=30, examples=960),
    },
    "small": {"alexnet": _SMALL, "vgg16": _SMALL},
}


def recipes_for(
    given: str | Mapping[str, GridRecipe], nets: Collection[str], changed: Mapping[str, Any]
) -> dict[str, GridRecipe]:
    """Recipes by net, at least those of `nets`: a name of `RECIPES`, or given; with the options changed that are not None.

    Raises:
        UnknownName: no recipe has this name.
        BadInput: something else than recipes, or none for a net.
    """
    if isinstance(given, str):
        if given not in RECIPES:
            raise unknown_name("recipe", given, RECIPES)
        given = RECIPES[given]
    if not isinstance(given, Mapping) or not all(isinstance(given.get(net), GridRecipe) for net in nets):
        raise BadInput(
            f"recipe must be 'paper', 'small', or a kt.studies.GridRecipe for each net. Received: {shown(given)}. Write "
            f"recipe={{{', '.join(f'{net!r}: kt.studies.GridRecipe()' for net in nets)}}}."
        )
    new = {name: value for name, value in changed.items() if value is not None}
    known = [entry.name for entry in fields(GridRecipe)]
    for name in new:
        if name not in known:
            raise unknown_name("option of a recipe", name, known)
    return {net: replace(one, **new) for net, one in given.items() if isinstance(one, GridRecipe)}
