"""What `prune` and `fit_with_pruning` return."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rich.table import Table

from keras_taylor._output.results import Result
from keras_taylor._plan.pruning_plan import PruningPlan
from keras_taylor._repair.attempts import Repair
from keras_taylor._run.report import Report


@dataclass(frozen=True, eq=False)
class PruningResult(Result):
    """What `kt.prune` and `kt.fit_with_pruning` return; `print(result)` shows the report, and what repair did.

    Attributes:
        model: the pruned model, a plain `keras.Model`.
        plan: what was removed from the model that was passed in, over all steps.
        report: sizes and metrics before, after each step, and at the end.
        history: as from `fit`, over all fine-tuning epochs; empty for `kt.prune`.
        repair: what the last repair tried and chose; None if there was none.
    """

    model: Any
    plan: PruningPlan
    report: Report
    history: Any
    repair: Repair | None = None

    def parts(self) -> list[Table | str]:
        """The parts of the report, and those of the repair."""
        return [*self.report.parts(), *(self.repair.parts() if self.repair else ())]

    def __repr__(self) -> str:
        macs = self.plan.after.get("macs", 0)
        return f"<PruningResult: {self.model.name!r}, {macs:,} MACs, {len(self.report.stages)} stages>"
