"""What `kt.analyze` returns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from rich.table import Table

from keras_taylor._analyze.locked import LockedLayer
from keras_taylor._output.results import StoredResult
from keras_taylor._output.tables import table
from keras_taylor.errors import BadInput

_SHOWN = 12
"""Locked layers in the table; the others are summed up."""


@dataclass(frozen=True)
class AnalysisRow:
    """What a model would keep at one share of its multiply-accumulates.

    Attributes:
        share: that was asked about.
        status: `"measured"` (pruned and repaired), `"estimated"` (from what was measured at other shares), or `"unreachable"`:
            the numbers below are None then.
        macs: multiply-accumulates per example that the plan leaves (1 MAC is 1).
        params: parameters that the plan leaves.
        agreement: share of held-back examples on which the largest output is the original's; None where there is one output.
        error: mean squared difference from the original's outputs on held-back examples, relative to their variance.
        metric: the compiled metric on the validation data that decides, if there is one.
        lost: what decides: the agreement, or the metric, that is missing, as a fraction (0.01 is one point), or the error.
    """

    share: float
    status: str
    macs: int | None = None
    params: int | None = None
    agreement: float | None = None
    error: float | None = None
    metric: float | None = None
    lost: float | None = None


@dataclass(frozen=True)
class Analysis(StoredResult):
    """What pruning would keep; `print(analysis)` shows it with what is locked, and how long each step takes.

    Attributes:
        model: name of the model.
        macs: its multiply-accumulates per example (1 MAC is 1).
        params: its parameters, trainable or not.
        floor: multiply-accumulates of the smallest model that can be reached.
        rows: one per share, the largest first.
        locked: layers with channels that may not go, those that cost most first.
        judged_by: what `lost` is of: `"agreement"`, `"error"`, or the name of a compiled metric.
        metric: that metric of the unpruned model, if there is one.
        within: how much may be lost, as a fraction.
        examples: how many examples were used to repair, and how many were held back.
        seconds: of each step on this machine: means over the shares that were measured, and of one epoch of `fit` of the
            unpruned model (`"training pass"`), where there are labels and a loss.
        settings: how shares were measured.
    """

    kind = "An analysis"

    model: str
    macs: int
    params: int
    floor: int
    rows: tuple[AnalysisRow, ...]
    locked: tuple[LockedLayer, ...]
    judged_by: str
    metric: float | None
    within: float
    examples: tuple[int, int]
    seconds: Mapping[str, float]
    settings: Mapping[str, Any] = field(default_factory=dict)

    def __getitem__(self, share: float) -> AnalysisRow:
        """The row of a share.

        Raises:
            BadInput: there is none.
        """
        shares = [row.share for row in self.rows]
        if share not in shares:
            raise BadInput(f"share must be one of {shares}. Received: {share!r}. Pass it to kt.analyze(shares=[...]).")
        return self.rows[shares.index(share)]

    @property
    def largest_cut(self) -> float | None:
        """The smallest share that loses no more than `within`: it was measured. None where there is none."""
        return min((row.share for row in self.rows if is_within(row, self.within)), default=None)

    def fields(self) -> dict[str, Any]:
        """All attributes."""
        return asdict(self)

    @classmethod
    def from_fields(cls, fields: dict[str, Any]) -> Analysis:
        """The analysis with these attributes."""
        rows = tuple(AnalysisRow(**row) for row in fields["rows"])
        locked = tuple(LockedLayer(**one) for one in fields["locked"])
        return cls(**{**fields, "rows": rows, "locked": locked, "examples": tuple(fields["examples"])})

    def parts(self) -> Sequence[Table | str]:
        """The shares, the answer in words, what is locked, and the seconds."""
        return [self._shares(), self._answer(), self._locks(), self._times()]

    def _shares(self) -> Table:
        allowed = f"lost <= {self.within:g}"
        decides = "agreement" if self.judged_by in ("agreement", "error") else self.judged_by
        extra = () if decides == "agreement" else (f"{decides}>",)
        columns = ("MACs asked>", "MACs>", "params>", "agreement>", "output error>", *extra, f"{allowed}>", "")
        fitted, held = self.examples
        caption = "1 MAC = 1"
        if held:
            caption += f"; repaired on {fitted:,} examples, judged on {held:,} others, one of which is {100 / held:.2g} points"
        if self.metric is not None:
            caption += f"; {self.judged_by} on the validation data, {self.metric:.4f} unpruned"
        caption += "".join(
            f"; {name}={self.settings[name]}" for name in ("criterion", "repair", "seed") if name in self.settings
        )
        made = table(f"What {self.model} would keep after pruning and repair", columns, caption)
        for row in self.rows:
            numbers = (row.agreement, row.error, row.metric)[: 2 + len(extra)]
            sizes = [_share(row.macs, self.macs), _share(row.params, self.params)]
            fits = "" if row.lost is None else "yes" if is_within(row, self.within) else "no"
            values = ["" if number is None else f"{number:.4f}" for number in numbers]
            made.add_row(f"{100 * row.share:g} %", *sizes, *values, fits, row.status)
        return made

    def _answer(self) -> str:
        least, cut = f"{100 * self.floor / self.macs:.1f} %", self.largest_cut
        reachable = [row for row in self.rows if row.status != "unreachable"]
        if not reachable:
            return (
                f"None of these shares can be reached: at least {least} of the MACs stay, whatever is removed. What is locked, "
                "and what it costs, is below."
            )
        floor = f" The smallest model that can be reached has {least} of the MACs."
        points = f"{100 * self.within:g} {'point' if self.within == 0.01 else 'points'} of {self.judged_by}"
        lost = f"an output error of {self.within:g}" if self.judged_by == "error" else points
        if cut is None:
            return f"None of these shares loses at most {lost}: the largest one loses {reachable[0].lost:.4f}.{floor}"
        return f"Largest cut that loses at most {lost}: {100 * cut:g} % of the MACs, kt.Target(macs={cut:g}).{floor}"

    def _locks(self) -> Table:
        made = table("What cannot go", ("layer", "channels locked>", "MACs>", "MACs that stay>", "why"))
        for one in self.locked[:_SHOWN]:
            made.add_row(one.name, str(one.channels), f"{one.macs:,}", _share(one.stays, self.macs), one.reason)
        others = self.locked[_SHOWN:]
        if others:
            channels, macs, stays = (sum(getattr(one, what) for one in others) for what in ("channels", "macs", "stays"))
            made.add_row(f"{len(others)} more", str(channels), f"{macs:,}", _share(stays, self.macs), "")
        macs, stays = (total - sum(found) for total, found in ((self.macs, self._of("macs")), (self.floor, self._of("stays"))))
        made.add_row("all others", "0", f"{macs:,}", _share(stays, self.macs), "their least widths")
        return made

    def _of(self, what: str) -> list[int]:
        return [getattr(one, what) for one in self.locked]

    def _times(self) -> str:
        steps = ", ".join(f"{step} {seconds:.2g}" for step, seconds in self.seconds.items())
        trained = "" if "training pass" in self.seconds else " (no training pass: it needs labels, and a model with a loss)"
        return f"Seconds: {steps}{trained}."


def is_within(row: AnalysisRow, within: float) -> bool:
    """Whether a share loses no more than is allowed, but for rounding."""
    return row.lost is not None and row.lost <= within + 1e-9


def _share(number: int | None, full: int) -> str:
    return "" if number is None else f"{number:,} ({100 * number / max(full, 1):.1f} %)"
