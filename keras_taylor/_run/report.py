"""What a run reports: sizes and metrics before, after each step, and at the end."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import keras

from keras_taylor._output.files import write_text
from keras_taylor._output.tables import render, table
from keras_taylor._plan.pruning_plan import totals
from keras_taylor._plan.target import Target
from keras_taylor._run.step import PruningStep
from keras_taylor._trace.graph import ChannelGraph
from keras_taylor.errors import BadInput, unknown_name
from keras_taylor.litert import Latency


def timed(latency: Latency | None) -> dict[str, float]:
    """A latency for a row of a report; nothing where none was timed."""
    return {} if latency is None else {"latency_ms": latency.fastest_ms}


def settings(removal: PruningStep, target: Target) -> dict[str, object]:
    """The set-up of a run, for its report."""
    return {
        "criterion": removal.criterion.name,
        **removal.criterion.settings(),
        "rank": removal.rank,
        "target": str(target),
        "examples": removal.examples,
        "repair": removal.repair,
        "seed": removal.seed,
    }


def stage(name: str, epochs: int, graph: ChannelGraph, metrics: Mapping[str, float]) -> Stage:
    """A report row for a model of this graph."""
    sizes = totals(graph)
    return Stage(name, epochs, sizes["macs"], sizes["params"], sizes["channels"], dict(metrics))


def evaluate(model: Any, data: Any, batch_size: int | None, steps: int | None = None) -> dict[str, float]:
    """The compiled loss and metrics on `data`; nothing without data."""
    if data is None:
        return {}
    if not model.compiled:
        raise BadInput(f"validation_data needs a compiled model. Received: {model.name!r}. Call model.compile(...) first.")
    x, y, weight = keras.utils.unpack_x_y_sample_weight(data) if isinstance(data, (tuple, list)) else (data, None, None)
    arrays = {} if y is None else {"y": y, "sample_weight": weight, "batch_size": batch_size}
    found = model.evaluate(x, **arrays, steps=steps, verbose=0, return_dict=True)
    return {name: float(value) for name, value in found.items()}


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
