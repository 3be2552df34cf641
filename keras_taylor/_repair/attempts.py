"""What `kt.repair` returns: the repaired model, and all that was tried."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rich.table import Table

from keras_taylor._output.results import Result
from keras_taylor._output.tables import table


@dataclass(frozen=True)
class Attempt:
    """One combination of methods that was tried.

    Attributes:
        methods: what was applied, in this order.
        error: mean squared difference from the original's outputs on held-back examples, relative to their variance.
        agreement: share of held-back examples on which the largest output is the original's.
        passes: passes of its last method over the calibration data.
        seconds: time that its last method took, with judging.
    """

    methods: tuple[str, ...]
    error: float
    agreement: float
    passes: int
    seconds: float


@dataclass(frozen=True, eq=False)
class Repair(Result):
    """Outcome of `kt.repair`; `print(repair)` is a table.

    Attributes:
        model: the repaired model; with `method="auto"` never worse on the held-back examples than the unrepaired one.
        methods: what was applied to it, in this order; nothing, where that was best.
        attempts: all that was tried, the unrepaired model first.
        examples: how many examples were used to repair, and how many were held back.
    """

    model: Any
    methods: tuple[str, ...]
    attempts: tuple[Attempt, ...]
    examples: tuple[int, int]

    @property
    def chosen(self) -> Attempt:
        """The attempt that made `model`."""
        return next(one for one in self.attempts if one.methods == self.methods)

    def parts(self) -> Sequence[Table]:
        """A table of all that was tried."""
        title = f"Repair on {self.examples[0]} examples, judged on {self.examples[1]} others"
        made = table(title, ("methods", "output error>", "top-1 agreement>", "passes>", "seconds>", ""))
        for one in self.attempts:
            numbers = (f"{one.error:.4g}", f"{one.agreement:.3f}", str(one.passes), f"{one.seconds:.1f}")
            made.add_row(" + ".join(one.methods) or "none", *numbers, "chosen" if one.methods == self.methods else "")
        return [made]
