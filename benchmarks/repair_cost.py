"""`kt.repair` by least squares against one epoch of `fit` over the same images."""

from __future__ import annotations

import time

import numpy as np

import keras_taylor as kt
from benchmarks.runner import Row, benchmark, fresh, memory_rise, net_named, table

KINDS = ("repair", "train")


def measure(kind: str, net: str, images: int, batch: int) -> dict[str, float]:
    """Seconds and MB of one repair at half the MACs, or of one epoch of the unpruned model."""
    chosen = net_named(net)
    x, y = (part[:images] for part in chosen.raw("train"))
    x, model = chosen.scaled(x), chosen.model()
    plan = kt.plan(kt.score(model, criterion="magnitude", verbose=0), kt.Target(macs=0.5))
    small = kt.rebuild(model, plan)
    if kind == "train":
        model.fit(x[:batch], y[:batch], batch, verbose=0)  # compiles

    def work() -> None:
        if kind == "train":
            model.fit(x, y, batch, verbose=0)
        else:
            kt.repair(model, plan, small, x, method="lstsq", examples=images, batch_size=batch, verbose=0)

    start = time.perf_counter()
    megabytes = memory_rise(work)
    return {"seconds": time.perf_counter() - start, "mb": megabytes}


def page(rows: list[Row]) -> list[str]:
    """One line for each net."""
    header = ["net", "images", "batch", "repair seconds", "train seconds", "ratio of seconds", "repair MB", "train MB"]
    lines = [
        [
            row["net"],
            row["images"],
            row["batch"],
            *(f"{row[f'{kind}_seconds']:.1f}" for kind in KINDS),
            f"{row['repair_seconds'] / row['train_seconds']:.2f}",
            *(f"{row[f'{kind}_mb']:.0f}" for kind in KINDS),
            f"{row['repair_mb'] / row['train_mb']:.2f}",
        ]
        for row in rows
    ]
    return [table([*header, "ratio of MB"], lines)]


@benchmark("repair_cost", cells={"net": ("resnet20",), "images": (2048,), "batch": (64,), "repetitions": (3,)}, page=page)
def repair_cost(net: str, images: int, batch: int, repetitions: int) -> Row:
    """What repair costs.

    Least-squares repair (`method="lstsq"`) at half the MACs against one epoch of `fit` (SGD, without compiling it) of the
    unpruned model over the same images: medians of runs in turns, each in a process of its own. MB is the growth of the memory
    over what the process uses with model and images.
    """
    found = {kind: [] for kind in KINDS}
    for _ in range(repetitions):
        for kind, seen in found.items():
            seen.append(fresh(measure, kind, net, images, batch))
    return {
        f"{kind}_{what}": np.median([one[what] for one in seen]) for kind, seen in found.items() for what in ("seconds", "mb")
    }
