"""`SweepTable`: what `kt.sweep` returns."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

from keras_taylor._output.files import write_text
from keras_taylor._output.tables import render, table
from keras_taylor._sweep.answer import answer
from keras_taylor._sweep.figure import draw
from keras_taylor._sweep.rows import SweepGroup, SweepRow, front, grouped, mean_and_spread
from keras_taylor.errors import BadInput

_FORMAT = 1


@dataclass(frozen=True)
class SweepTable:
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
        >>> small = kt.SweepRow(target=0.5, accuracy=0.8, macs=50, bops=51_200, relative_bops=0.5, **row)
        >>> worse = kt.SweepRow(target=0.7, accuracy=0.7, macs=70, bops=71_680, relative_bops=0.7, **row)
        >>> [best.target for best in kt.SweepTable((small, worse)).pareto("bops", "accuracy")]
        [0.5]
    """

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

    def to_json(self) -> str:
        """Settings, rows and what was skipped, as JSON text with a format version."""
        fields = {"format": _FORMAT, "settings": self.settings, "skipped": self.skipped}
        return json.dumps({**fields, "rows": [asdict(row) for row in self.rows]}, indent=1, default=str)

    @classmethod
    def from_json(cls, text: str) -> SweepTable:
        """The table that `to_json` wrote.

        Raises:
            BadInput: the text is not a table, or one of a newer format.
        """
        try:
            data = json.loads(text)
            if data["format"] == _FORMAT:
                return cls(tuple(SweepRow(**row) for row in data["rows"]), data["settings"], data["skipped"])
        except (ValueError, KeyError, TypeError) as error:
            raise BadInput(f"A table must be JSON as SweepTable.save writes it. Received: {error!r}.") from None
        raise BadInput(f"The format of a table must be {_FORMAT}. Received: {data['format']!r}. Update keras_taylor.")

    def save(self, path: str | Path) -> None:
        """Write JSON to `path`, at once or not at all."""
        write_text(path, self.to_json())

    @classmethod
    def load(cls, path: str | Path) -> SweepTable:
        """Read what `save` wrote."""
        return cls.from_json(Path(path).read_text(encoding="utf-8"))

    def to_csv(self, path: str | Path) -> None:
        """Write all rows, one per line, with a header, to `path`."""
        stream = io.StringIO()
        names = [entry.name for entry in fields(SweepRow)]
        writer = csv.DictWriter(stream, ["pareto", *names], lineterminator="\n")
        writer.writeheader()
        best = self.pareto()
        writer.writerows({"pareto": int(row in best), **asdict(row)} for row in self.rows)
        write_text(path, stream.getvalue())

    def to_markdown(self) -> str:
        """The printed table as Markdown."""
        lines = [" | ".join(name.rstrip(">") for name in _COLUMNS)]
        lines.append(" | ".join("---:" if name.endswith(">") else "---" for name in _COLUMNS))
        lines += [" | ".join(cells) for cells in self._cells()]
        return "\n".join(f"| {line} |" for line in lines)

    def __str__(self) -> str:
        seeds = sorted({row.seed for row in self.rows})
        caption = f"* no other one has fewer BOPs and at least this accuracy; 1 MAC = 1; seeds {seeds}"
        common = ", ".join(f"{name}={value}" for name, value in self.settings.items())
        made = table("Sweep: the .tflite files in LiteRT", _COLUMNS, "\n".join(filter(None, (caption, common))))
        for cells in self._cells():
            made.add_row(*cells)
        return render(made) + "".join(f"no row: {name}: {reason}\n" for name, reason in self.skipped.items())

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
