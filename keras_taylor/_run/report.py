"""What a run reports: sizes and metrics before, after each step, and at the end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import keras
import numpy as np
from rich.table import Table

from keras_taylor._output.results import StoredResult
from keras_taylor._output.tables import table
from keras_taylor._trace.graph import ChannelGraph
from keras_taylor.errors import BadInput, listed, unknown_name
from keras_taylor.litert import Latency


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
        seconds: since the start of the run.
    """

    name: str
    epochs: int
    macs: int
    params: int
    channels: int
    metrics: Mapping[str, float] = field(default_factory=dict)
    seconds: float = 0.0


@dataclass(frozen=True)
class Report(StoredResult):
    """The stages of a run and how it was set up; `print(report)` is a table.

    Attributes:
        settings: criterion, target, ranking, seed and the like; `"uncounted"` has the operations that MACs leave out, if any,
            with the reasons.
        stages: in the order in which they happened.
    """

    kind = "A report"

    settings: Mapping[str, Any] = field(default_factory=dict)
    stages: tuple[Stage, ...] = ()

    def __getitem__(self, name: str) -> Stage:
        """The stage of that name."""
        stages = {stage.name: stage for stage in self.stages}
        if name not in stages:
            raise unknown_name("stage", name, stages)
        return stages[name]

    @property
    def seconds(self) -> float:
        """How long the run took."""
        return self.stages[-1].seconds if self.stages else 0.0

    def with_settings(self, settings: Mapping[str, Any]) -> Report:
        """The report with more settings."""
        return replace(self, settings={**self.settings, **settings})

    def with_stage(
        self, name: str, graph: ChannelGraph, metrics: Mapping[str, float], *, seconds: float, epochs: int = 0
    ) -> Report:
        """The report with one more stage: the model of this graph, so many seconds after the start."""
        stage = Stage(name, epochs, **graph.cost.totals(), metrics=dict(metrics), seconds=seconds)
        gap = {"uncounted": graph.uncounted} if graph.uncounted else {}
        return replace(self, settings={**self.settings, **gap}, stages=(*self.stages, stage))

    def fields(self) -> dict[str, Any]:
        """Settings and stages."""
        return {"settings": dict(self.settings), "stages": [asdict(stage) for stage in self.stages]}

    @classmethod
    def from_fields(cls, fields: dict[str, Any]) -> Report:
        """The report with these settings and stages."""
        return cls(fields["settings"], tuple(Stage(**stage) for stage in fields["stages"]))

    def parts(self) -> list[Table | str]:
        """A row for each stage, the settings below."""
        metrics = list(dict.fromkeys(name for stage in self.stages for name in stage.metrics))
        columns = ("stage", *(f"{name}>" for name in ("epochs", "MACs", "params", "channels", *metrics)))
        caption = ", ".join(f"{k}={v}" for k, v in self.settings.items() if k != "uncounted")
        gaps = [f"{name} ({reason})" for name, reason in self.settings.get("uncounted", {}).items()]
        if gaps:
            caption += f"\nMACs leave out what cannot be counted: {listed(gaps, most=8, what='more operations')}."
        made = table("Pruning report (1 MAC = 1)", columns, caption)
        for stage in self.stages:
            sizes = (self._share(stage, name) for name in ("macs", "params", "channels"))
            values = (f"{stage.metrics[m]:.4f}" if m in stage.metrics else "" for m in metrics)
            made.add_row(stage.name, str(stage.epochs), *sizes, *values)
        return [made]

    def _share(self, stage: Stage, name: str) -> str:
        first, now = getattr(self.stages[0], name), getattr(stage, name)
        return f"{now:,} ({100 * now / max(first, 1):.1f} %)"


def timed(latency: Latency | None) -> dict[str, float]:
    """A latency as a metric; nothing where none was timed."""
    return {} if latency is None else {"latency_ms": latency.fastest_ms}


def evaluate(model: Any, data: Any, batch_size: int | None, steps: int | None = None) -> dict[str, float]:
    """The compiled loss and metrics on `data`, the mean of those with a value per class; nothing without data."""
    if data is None:
        return {}
    if not model.compiled:
        raise BadInput(f"validation_data needs a compiled model. Received: {model.name!r}. Call model.compile(...) first.")
    x, y, weight = keras.utils.unpack_x_y_sample_weight(data) if isinstance(data, (tuple, list)) else (data, None, None)
    arrays = {} if y is None else {"y": y, "sample_weight": weight, "batch_size": batch_size}
    found = model.evaluate(x, **arrays, steps=steps, verbose=0, return_dict=True)
    return {name: float(np.mean(value)) for name, value in found.items()}
