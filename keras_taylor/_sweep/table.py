"""`SweepTable`: what `kt.sweep` returns."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from rich.table import Table

from keras_taylor._output.files import write_text
from keras_taylor._output.results import StoredResult
from keras_taylor._output.tables import table
from keras_taylor._sweep.answer import answer
from keras_taylor._sweep.figure import draw
from keras_taylor._sweep.rows import SweepGroup, SweepRow, front, grouped, mean_and_spread
from keras_taylor.errors import BadInput


@dataclass(frozen=True)
class SweepTable(StoredResult):
    """The rows of a sweep; `print(table)` marks those that no other one beats with a star.

    Attributes:
        rows: one per file, in the order of the grid.
        settings: what the rows have in common.
        skipped: combinations without a row, and why.

    Example:
        >>> import keras_taylor as kt
        >>> row = dict(order="prune_quantize", weight_bits=32, activation_bits=32, float_accuracy=0.9, examples=100, params=10,
        ...            bytes=99, gzip_bytes=50, latency_ms=1.0, latency_q1_ms=1.0, latency_q3_ms=1.0, training_seconds=0.0,
        ...            seconds=1.0, path="", seed=0, quantizer="float32")
        >>> small = kt.results.SweepRow(target=0.5, accuracy=0.8, macs=50, bops=51_200, relative_bops=0.5, **row)
        >>> worse = kt.results.SweepRow(target=0.7, accuracy=0.7, macs=70, bops=71_680, relative_bops=0.7, **row)
        >>> [best.target for best in kt.SweepTable((small, worse)).pareto("bops", "accuracy")]
        [0.5]
    """

    kind = "A table"

    rows: tuple[SweepRow, ...]
    settings: Mapping[str, object] = field(default_factory=dict)
    skipped: Mapping[str, str] = field(default_factory=dict)

    def pareto(self, x: str = "bops", y: str = "accuracy") -> list[SweepRow]:
        """The rows that no other row beats: none has less `x` and at least as much `y`.

        Less is better in all numbers but `accuracy` and `float_accuracy`. With several seeds, luck decides among the rows of a
        group; `front` compares means.

        Raises:
            UnknownName: a row has no such number.
        """
        return front(self.rows, x, y)

    def groups(self) -> list[SweepGroup]:
        """The rows that differ in their seeds alone, with their means and standard deviations."""
        return grouped(self.rows)

    def front(self, x: str = "bops", y: str = "accuracy") -> list[SweepGroup]:
        """As `pareto`, for means over seeds."""
        return front(self.groups(), x, y)

    def answer(self, margin: float = 0.01) -> str:
        """How much pruning is still possible at 8 bits, in words.

        Args:
            margin: accuracy that may be lost against the unpruned model, as a fraction: 0.01 is one point.
        """
        return answer(self.groups(), margin)

    def figure(self, path: str | Path) -> None:
        """Draw accuracy against BOPs (.svg, .png or .pdf): prune only, quantize only, both."""
        draw(self.groups(), path)

    def fields(self) -> dict[str, Any]:
        """Settings, what was skipped, and the rows."""
        return {
            "settings": dict(self.settings),
            "skipped": dict(self.skipped),
            "rows": [asdict(row) for row in self.rows],
        }

    @classmethod
    def from_fields(cls, fields: dict[str, Any]) -> SweepTable:
        """The table with these rows."""
        return cls(tuple(SweepRow(**row) for row in fields["rows"]), fields["settings"], fields["skipped"])

    def save(self, path: str | Path) -> None:
        """Write the table to `path`, at once or not at all: its suffix is .json (for `load`), .csv (every row) or .md.

        Raises:
            BadInput: another suffix, or nothing can be written there.
        """
        forms: dict[str, Callable[[], str]] = {".json": self.to_json, ".csv": self._csv, ".md": self._markdown}
        if Path(path).suffix not in forms:
            raise BadInput(f"path of a table must end with .json, .csv or .md. Received: {str(path)!r}.")
        write_text(path, forms[Path(path).suffix]())

    def parts(self) -> list[Table | str]:
        """The groups of rows, stars at those that no other one beats, and what has no row."""
        seeds = sorted({row.seed for row in self.rows})
        caption = f"* no other one has fewer BOPs and at least this accuracy; 1 MAC = 1; seeds {seeds}"
        common = ", ".join(f"{name}={value}" for name, value in self.settings.items())
        devices = "; ".join(dict.fromkeys(row.device for row in self.rows if row.device))
        lines = caption, common, f"run on {devices}" if devices else ""
        made = table("Sweep: the .tflite files in LiteRT", _COLUMNS, "\n".join(filter(None, lines)))
        for cells in self._cells():
            made.add_row(*cells)
        return [made, *(f"no row: {name}: {reason}" for name, reason in self.skipped.items())]

    def _markdown(self) -> str:
        return self.render("markdown") + "\n"

    def _csv(self) -> str:
        stream = io.StringIO()
        names = [entry.name for entry in fields(SweepRow)]
        writer = csv.DictWriter(stream, ["pareto", *names], lineterminator="\n")
        writer.writeheader()
        best = self.pareto()
        writer.writerows({"pareto": int(row in best), **asdict(row)} for row in self.rows)
        return stream.getvalue()

    def _cells(self) -> list[tuple[str, ...]]:
        best = self.front()
        return [
            (
                "*" if group in best else "",
                f"{group.target:g}",
                group.quantizer,
                group.order.replace("_", " "),  # so that a narrow terminal breaks it between words
                mean_and_spread(group, "accuracy"),
                mean_and_spread(group, "float_accuracy"),
                f"{group.number('macs'):,.0f}",
                f"{group.number('params'):,.0f}",
                f"{100 * group.number('relative_bops'):.3g} %",
                f"{group.number('bytes') / 1000:,.1f} ({group.number('gzip_bytes') / 1000:,.1f})",
                _latency(group),
            )
            for group in self.groups()
        ]


_COLUMNS = ("", "target", "quantizer", "order", "accuracy>", "float>", "MACs>", "params>", "BOPs>", "kB (gzip)>", "ms>")


def _latency(group: SweepGroup) -> str:
    q1, median, q3 = (group.number(f"latency_{name}") for name in ("q1_ms", "ms", "q3_ms"))
    return f"{median:.3g} ({q1:.3g} to {q3:.3g})"
