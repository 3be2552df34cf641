"""How a budget is approached: how many removals, and how much each of them takes."""

from __future__ import annotations

import math
import numbers
from collections.abc import Mapping
from dataclasses import dataclass

from keras_taylor.errors import BadInput, whole_number


@dataclass(frozen=True)
class Schedule:
    """Steps from the unpruned model to the budget.

    Args:
        steps: number of removals.
        epochs_per_step: epochs of fine-tuning after each removal but the last; what is left of `epochs` follows the last.
        power: step `i` of `n` has removed `1 - (1 - i/n)**power` of what has to go: 1 removes evenly, 3 removes much at first
            and little at the end.
        proportional: every step leaves the same share of what was there before it; `power` says nothing then.

    Raises:
        BadInput: a number that is out of range.

    Example:
        >>> import keras_taylor as kt
        >>> [round(kt.Schedule.cubic(steps=3).progress(i), 3) for i in (1, 2, 3)]
        [0.704, 0.963, 1.0]
        >>> kt.Schedule.geometric(steps=2).budgets(1, full={"macs": 1000}, goal={"macs": 250.0})
        {'macs': 500}
    """

    steps: int
    epochs_per_step: int = 1
    power: float = 1.0
    proportional: bool = False

    def __post_init__(self) -> None:
        for name, least in (("steps", 1), ("epochs_per_step", 0)):
            object.__setattr__(self, name, whole_number(f"Schedule({name}=)", getattr(self, name), least))
        if not isinstance(self.power, numbers.Real) or not float(self.power) > 0:
            raise BadInput(f"Schedule(power=) must be a positive number. Received: {self.power!r}. Pass 1 to remove evenly.")

    @classmethod
    def linear(cls, steps: int, epochs_per_step: int = 1) -> Schedule:
        """Remove the same amount in every step."""
        return cls(steps, epochs_per_step)

    @classmethod
    def cubic(cls, steps: int, epochs_per_step: int = 1) -> Schedule:
        """Remove much at first, while the model is large, and little at the end (Zhu and Gupta 2017, Eq. 1)."""
        return cls(steps, epochs_per_step, power=3.0)

    @classmethod
    def geometric(cls, steps: int, epochs_per_step: int = 1) -> Schedule:
        """Remove the same share of what is left in every step: no step is harder than another."""
        return cls(steps, epochs_per_step, proportional=True)

    def progress(self, step: int) -> float:
        """The share of the removal that is done after `step` (1 is the first); of its logarithm with `proportional`."""
        return step / self.steps if self.proportional else 1.0 - (1.0 - step / self.steps) ** self.power

    def budgets(self, step: int, full: Mapping[str, int], goal: Mapping[str, float]) -> dict[str, int]:
        """The absolute budgets of `step`, between the unpruned totals and the goal (never below the goal)."""
        return {
            name: int(goal[name]) if step == self.steps else max(int(self._between(step, full[name], goal[name])), 1)
            for name in goal
        }

    def _between(self, step: int, full: float, goal: float) -> float:
        part = self.progress(step)
        return full * (goal / full) ** part if self.proportional else full - part * (full - goal)


ONE_STEP = 0.3
"""What one step leaves at least, of what was there before it, unless the epochs are too few for more steps."""


def check_schedule(given: Schedule | None, epochs: int) -> None:
    """Raise `BadInput` for a schedule that needs more epochs; None, the default one, never does."""
    needed = 0 if given is None else (given.steps - 1) * given.epochs_per_step
    if needed > epochs:
        raise BadInput(f"epochs must cover the schedule. Received: epochs={epochs} and {given}, which needs {needed}.")


def schedule_for(given: Schedule | None, epochs: int, left: float) -> Schedule:
    """The schedule; by default the fewest steps that each leave at least 30 % of it, in at most half of the epochs.

    Args:
        given: a schedule, or None.
        epochs: of training in all.
        left: the share that the goal leaves of the tightest budget.
    """
    return given or Schedule.geometric(max(min(_needed(left), epochs // 2), 1))


def _needed(left: float) -> int:
    """How many steps of 30 % lead to this share; a thousandth counts for nothing."""
    return math.ceil(math.log(max(left, 1e-3)) / math.log(ONE_STEP) - 1e-3)
