"""How a model is pruned: the options that `prune`, `fit_with_pruning` and `sweep` share, as one value."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Any, ParamSpec, TypeVar

from keras_taylor._keras.identity import described
from keras_taylor._output.deprecations import gathered
from keras_taylor._plan.constraints import Constraints, constraints_for
from keras_taylor._plan.plan import check_rank
from keras_taylor._repair.methods import Methods, methods_for
from keras_taylor._run.distill import Distill
from keras_taylor._run.schedule import Schedule
from keras_taylor._score.score import DEFAULT_CRITERION
from keras_taylor.criteria import Criterion, criterion_for
from keras_taylor.errors import BadInput, shown, whole_number

_P = ParamSpec("_P")
_R = TypeVar("_R")


@dataclass(frozen=True)
class Recipe:
    """How a model is pruned: which channels go, in how many steps, and what is done about it.

    Args:
        criterion: a name or a `kt.Criterion`: what a channel is worth.
        rank: `"saving"` ranks by score per unit of budget saved, `"score"` by the plain score, as the paper does.
        constraints: what every plan must respect, in terms of the unpruned model.
        schedule: the steps to the budget, for `kt.fit_with_pruning` and `kt.sweep`; by default the fewest geometric steps of
            one epoch that each leave 30 % of what was there, in at most half of the epochs. `kt.prune` has one step, and warns.
        repair: a method of `kt.repair`, by name or one of `kt.repairs`, that follows each removal, or None for no repair.
            Without data nothing is repaired.
        examples: score and repair on at most this many examples (drawn at random from arrays); None is all of them.
        distill: while `kt.fit_with_pruning` trains, the model that is left learns to compute what the unpruned one does,
            wherever channels are read, instead of the labels or beside them. None trains on the labels alone, as `fit` does.
        gentle: while `kt.fit_with_pruning` trains, the learning rate rises in a short warm-up after each removal, and falls to
            0 at the end of the run, unless the optimizer follows a schedule or a callback sets the rate. Where labels count,
            it rises to a part only that depends on the measured damage: at a normal rate they destroy a repair before they
            improve on it.
        keep_best: whether `kt.fit_with_pruning`, given validation data, ends with the weights that were best on them after the
            last removal. Turn it off where the same data are to say how good the result is.

    Raises:
        BadInput: a value that cannot be used.
        UnknownName: a criterion or a method of repair that does not exist.

    Example:
        >>> import keras_taylor as kt
        >>> kt.Recipe(criterion="taylor", rank="score", repair=None).criterion.name
        'taylor'
    """

    criterion: str | Criterion = DEFAULT_CRITERION
    rank: str = "saving"
    constraints: Constraints = field(default_factory=Constraints)
    schedule: Schedule | None = None
    repair: Methods | None = "auto"
    examples: int | None = 2048
    distill: Distill | None = field(default_factory=Distill)
    gentle: bool = True
    keep_best: bool = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "criterion", criterion_for(self.criterion))
        check_rank(self.rank)
        object.__setattr__(self, "constraints", constraints_for(self.constraints))
        if self.schedule is not None and not isinstance(self.schedule, Schedule):
            raise BadInput(
                f"schedule must be a kt.Schedule. Received: {shown(self.schedule)}. Write kt.Schedule.linear(steps=3)."
            )
        if self.repair is not None:
            methods_for(self.repair)
        if self.examples is not None:
            object.__setattr__(self, "examples", whole_number("Recipe(examples=)", self.examples))
        if self.distill is not None and not isinstance(self.distill, Distill):
            raise BadInput(
                f"Recipe(distill=) must be a kt.Distill, or None for none. Received: {shown(self.distill)}. "
                "Write distill=kt.Distill(labels=0.1)."
            )

    @classmethod
    def paper(cls) -> Recipe:
        """That of Molchanov et al. 2017: Taylor, Eq. 8 with l2 normalisation, in plain order, and plain fine-tuning."""
        return cls(criterion="taylor", rank="score", repair=None, distill=None, gentle=False, keep_best=False)

    def settings(self) -> dict[str, Any]:
        """The options as JSON values, for a report; the criterion with its own."""
        constraints = {entry.name: described(getattr(self.constraints, entry.name)) for entry in fields(self.constraints)}
        others = {
            "rank": self.rank,
            "constraints": constraints,
            "repair": described(self.repair),
            "examples": self.examples,
            "distill": described(self.distill),
            "gentle": self.gentle,
            "keep_best": self.keep_best,
        }
        chosen = criterion_for(self.criterion)
        return {"criterion": chosen.name, **chosen.settings(), **others}


def recipe_for(given: Recipe | str | None) -> Recipe:
    """The recipe; the default one for None, the paper's for `"paper"`.

    Raises:
        BadInput: something else.
    """
    if given == "paper":
        return Recipe.paper()
    if given is not None and not isinstance(given, Recipe):
        raise BadInput(
            f"recipe must be a kt.Recipe, or 'paper'. Received: {shown(given)}. Write recipe=kt.Recipe(criterion='taylor2')."
        )
    return given or Recipe()


def takes_old_options(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """Decorator: the options of a recipe may also be given one by one, as before there were recipes; with a warning."""
    return gathered("recipe", Recipe)(function)
