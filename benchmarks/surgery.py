"""What pruning a model costs besides scoring: trace + plan + rebuild against `clone_model` + `set_weights`.

Copying the model is the least that any surgery has to do. Both are timed in turns in one process; the ratio of each pair is
taken, and the median of the ratios reported (target: at most 1.5).

    python benchmarks/surgery.py
"""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Annotated, Any

import keras
import numpy as np
import typer
from _common import RESULTS, interleaved, setup, table, write

import keras_taylor as kt

MODELS = ("ResNet50", "EfficientNetB0", "NASNetMobile")
ALLOWED = 1.5


def copy(model: Any) -> Any:
    """The baseline."""
    clone = keras.models.clone_model(model)
    clone.set_weights(model.get_weights())
    return clone


def measure(name: str, repetitions: int, seed: int) -> list[Any]:
    """The row of one model: median seconds of each part, the ratio and its quartiles."""
    model = getattr(keras.applications, name)(weights=None)
    values = np.random.default_rng(seed).random(kt.trace(model).channels)
    state: dict[str, Any] = {}

    def trace() -> None:
        state["graph"] = kt.trace(model)

    def plan() -> None:
        state["plan"] = kt.plan(kt.Scores(state["graph"], values), kt.Target(macs=0.5))

    def rebuild() -> None:
        state["small"] = kt.rebuild(model, state["plan"])

    def baseline() -> None:
        state["clone"] = copy(model)

    contenders = (trace, plan, rebuild, baseline, gc.collect)
    interleaved(2, *contenders)
    seconds = np.array(interleaved(repetitions, *contenders))
    ratios = seconds[:3].sum(0) / seconds[3]
    low, middle, high = np.percentile(ratios, [25, 50, 75])
    medians = np.median(seconds, axis=1)
    print(f"{name}: ratio {middle:.2f} (quartiles {low:.2f} to {high:.2f}), seconds {medians.round(3).tolist()}", flush=True)
    times = [f"{medians[i]:.2f}" for i in range(4)]
    return [name, *times, f"{middle:.2f}", f"{low:.2f} to {high:.2f}", "yes" if middle <= ALLOWED else "NO"]


def main(
    repetitions: int = 9,
    seed: int = 0,
    output: Annotated[Path, typer.Option(help="Markdown file for the table.")] = RESULTS / "surgery.md",
) -> None:
    """Time surgery against copying."""
    environment = setup(seed)
    rows = []
    for name in MODELS:
        rows.append(measure(name, repetitions, seed))
        keras.utils.clear_session()
        gc.collect()
    header = ["model", "trace (s)", "plan (s)", "rebuild (s)", "clone_model + set_weights (s)", "ratio", "quartiles"]
    write(
        output,
        "# Surgery",
        "trace + plan + rebuild (random scores, `kt.Target(macs=0.5)`, default input size) against copying the model. Median "
        f"seconds of {repetitions} repetitions in turns, and the median of the ratios; at most {ALLOWED} is the target.",
        table([*header, f"at most {ALLOWED}"], rows),
        f"Made by `python benchmarks/surgery.py`. {environment}.",
    )
    raise typer.Exit(int(any(row[-1] == "NO" for row in rows)))


if __name__ == "__main__":
    typer.run(main)
