"""Trace, plan and rebuild against the least that any surgery has to do."""

from __future__ import annotations

import gc
from typing import Any

import keras
import numpy as np

import keras_taylor as kt
from benchmarks.runner import Goal, Row, benchmark, interleaved, quartiles, table

ALLOWED = 1.5
GOAL = Goal(f"at most {ALLOWED}", lambda row: row["ratio"] <= ALLOWED)
PARTS = ("trace", "plan", "rebuild", "copy")


def page(rows: list[Row]) -> list[str]:
    """One line for each model."""
    header = ["model", "trace (s)", "plan (s)", "rebuild (s)", "clone_model + set_weights (s)", "ratio", "quartiles", GOAL.text]
    lines = [
        [
            row["model"],
            *(f"{row[f'{part}_seconds']:.2f}" for part in PARTS),
            f"{row['ratio']:.2f}",
            f"{row['low']:.2f} to {row['high']:.2f}",
            GOAL.met(row),
        ]
        for row in rows
    ]
    return [table(header, lines)]


@benchmark(
    "surgery",
    cells={"model": ("ResNet50", "EfficientNetB0", "NASNetMobile"), "repetitions": (9,), "seed": (0,)},
    goal=GOAL,
    page=page,
)
def surgery(model: str, repetitions: int, seed: int) -> Row:
    """What surgery costs.

    trace + plan + rebuild (random scores, `kt.Target(macs=0.5)`, default input size) against copying the model. Median seconds
    of repetitions in turns, and the median of the ratios.
    """
    net = getattr(keras.applications, model)(weights=None)
    values = np.random.default_rng(seed).random(kt.trace(net).channels)
    state: dict[str, Any] = {}

    def trace() -> None:
        state["graph"] = kt.trace(net)

    def plan() -> None:
        state["plan"] = kt.plan(kt.Scores(state["graph"], values), kt.Target(macs=0.5))

    def rebuild() -> None:
        state["small"] = kt.rebuild(state["graph"], state["plan"])

    def copy() -> None:
        state["clone"] = keras.models.clone_model(net)
        state["clone"].set_weights(net.get_weights())

    contenders = (trace, plan, rebuild, copy, gc.collect)
    interleaved(2, *contenders)
    seconds = interleaved(repetitions, *contenders)
    medians = {f"{part}_seconds": float(np.median(found)) for part, found in zip(PARTS, seconds, strict=False)}
    return medians | quartiles(seconds[:3].sum(0) / seconds[3])
