"""What a pruning run did, stage by stage."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from keras_taylor._files import write_text
from keras_taylor._table import render, table
from keras_taylor.errors import unknown_name


@dataclass(frozen=True)
class Stage:
    """One row of a report.

    Attributes:
        name: `"before"`, `"pruned 1"`, `"trained 1"`, ..., `"final"`.
        epochs: fine-tuning epochs so far.
        macs: multiply-accumulates per example (1 MAC is 1).
        params: parameters, trainable or not.
        channels: feature maps of all producers.
        metrics: what `evaluate` gave on the validation data, and under a latency budget `latency_ms`, of the fastest run.
    """

    name: str
    epochs: int
    macs: int
    params: int
    channels: int
    metrics: Mapping[str, float] = field(default_factory=dict)


@dataclass
class Report:
    """The stages of a run and how it was set up; `print(report)` is a table.

    Attributes:
        settings: criterion, target, ranking, seed and the like.
        stages: in the order in which they happened.
    """

    settings: dict[str, object] = field(default_factory=dict)
    stages: list[Stage] = field(default_factory=list)

    def __getitem__(self, name: str) -> Stage:
        """The stage of that name."""
        stages = {stage.name: stage for stage in self.stages}
        if name not in stages:
            raise unknown_name("stage", name, stages)
        return stages[name]

    def to_json(self) -> str:
        """The report as JSON text."""
        stages = [asdict(stage) for stage in self.stages]
        return json.dumps({"settings": self.settings, "stages": stages}, indent=1, default=str)

    def save(self, path: str | Path) -> None:
        """Write JSON to `path`, at once or not at all."""
        write_text(path, self.to_json())

    def render(self) -> str:
        """The table as text."""
        metrics = list(dict.fromkeys(name for stage in self.stages for name in stage.metrics))
        columns = ("stage", *(f"{name}>" for name in ("epochs", "MACs", "params", "channels", *metrics)))
        made = table("Pruning report (1 MAC = 1)", columns, ", ".join(f"{k}={v}" for k, v in self.settings.items()))
        for stage in self.stages:
            sizes = (self._share(stage, name) for name in ("macs", "params", "channels"))
            values = (f"{stage.metrics[m]:.4f}" if m in stage.metrics else "" for m in metrics)
            made.add_row(stage.name, str(stage.epochs), *sizes, *values)
        return render(made)

    def _share(self, stage: Stage, name: str) -> str:
        first, now = getattr(self.stages[0], name), getattr(stage, name)
        return f"{now:,} ({100 * now / max(first, 1):.1f} %)"

    def __str__(self) -> str:
        return self.render()
