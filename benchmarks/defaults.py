"""`fit_with_pruning` with its defaults, and what each of them is worth."""

from __future__ import annotations

import time

import keras
import numpy as np

import keras_taylor as kt
from benchmarks.runner import Row, benchmark, grouped, mean_and_deviation, net_named, table

EVENLY = kt.Schedule.linear(5)
RECIPES = {
    "defaults": kt.Recipe(keep_best=False),
    "with labels beside": kt.Recipe(distill=kt.Distill(labels=0.1), keep_best=False),
    "without distillation": kt.Recipe(distill=None, keep_best=False),
    "at the full rate": kt.Recipe(gentle=False, keep_best=False),
    "tuned first": kt.Recipe(repair=("lstsq", kt.repairs.Tune(seconds=120)), keep_best=False),
    "two steps": kt.Recipe(schedule=kt.Schedule.geometric(2), keep_best=False),
    "five even steps": kt.Recipe(schedule=EVENLY, keep_best=False),
    "plain fine-tuning": kt.Recipe(repair=None, distill=None, gentle=False, keep_best=False, schedule=EVENLY),
}
"""The best weights are not chosen: the images that would choose them are those that measure."""


def page(rows: list[Row]) -> list[str]:
    """One table for each net and share of the MACs."""
    parts = []
    for (net, share, epochs), mine in grouped(rows, "net", "share", "epochs"):
        one = mine[0]
        parts.append(
            f"{net_named(net).title}, {100 * share:.0f} % of the MACs, {epochs} epochs of {one['train_images']:,} images, "
            f"batch {one['batch']}, `Adam({one['rate']:g})`: {one['unpruned']:.4f} unpruned. {one['test_images']:,} test "
            "images measure and choose nothing. *start*: after the last removal and its repair. *wall*: seconds of the whole "
            "run over those of as many epochs of plain `fit` of the unpruned net (one measured), validation in both."
        )
        lines = []
        for recipe in (name for name in RECIPES if any(row["recipe"] == name for row in mine)):
            found = [row for row in mine if row["recipe"] == recipe]
            late = [row["history"][row["steps"] - 1 :] for row in found]
            cells = [
                mean_and_deviation([row["start"] for row in found]),
                *(mean_and_deviation([history[min(at, len(history)) - 1] for history in late]) for at in (1, 3)),
                mean_and_deviation([min(history) for history in late]),
                mean_and_deviation([row["final"] for row in found]),
            ]
            lines.append([recipe, len(found), found[0]["steps"], *cells, f"{np.mean([row['wall'] for row in found]):.2f}"])
        parts.append(table(["recipe", "seeds", "steps", "start", "+1 epoch", "+3", "lowest", "final", "wall"], lines))
    return parts


@benchmark(
    "defaults",
    cells={
        "net": ("resnet20",),
        "share": (0.5, 0.3),
        "epochs": (10,),
        "recipe": tuple(RECIPES),
        "rate": (1e-3,),
        "batch": (64,),
        "seed": (0, 1, 2),
    },
    page=page,
)
def defaults(net: str, share: float, epochs: int, recipe: str, rate: float, batch: int, seed: int) -> Row:
    """`fit_with_pruning` with its defaults.

    The same training for every recipe; all recipes but the first change one thing of the defaults, the last one all of them.
    """
    chosen = net_named(net)
    model, test = chosen.model(), chosen.test()
    x, y = chosen.raw("train")
    x = chosen.scaled(x)
    model.compile(keras.optimizers.Adam(rate), model.loss, metrics=["accuracy"])
    begin = time.perf_counter()
    result = kt.fit_with_pruning(
        model, x, y, target=kt.Target(macs=share), epochs=epochs, batch_size=batch, recipe=RECIPES[recipe],
        validation_data=test, seed=seed, verbose=2,
    )  # fmt: skip
    seconds = time.perf_counter() - begin
    plain = chosen.model()
    plain.compile(keras.optimizers.Adam(rate), plain.loss, metrics=["accuracy"])
    plain.fit(x[:batch], y[:batch], batch_size=batch, verbose=0)
    begin = time.perf_counter()
    plain.fit(x, y, batch_size=batch, validation_data=test, verbose=0)
    fit = time.perf_counter() - begin
    stages = {stage.name: stage.metrics["accuracy"] for stage in result.report.stages}
    steps = sum(name.startswith("pruned") for name in stages)
    return {
        "unpruned": stages["before"],
        "start": stages[f"pruned {steps}"],
        "final": stages["final"],
        "steps": steps,
        "history": result.history.history["val_accuracy"],
        "seconds": seconds,
        "wall": seconds / (epochs * fit),
        "train_images": len(x),
        "test_images": len(test[0]),
    }
