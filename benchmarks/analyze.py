"""What `kt.analyze` estimates, beside what pruning to these shares then gives."""

from __future__ import annotations

import time

import numpy as np

import keras_taylor as kt
from benchmarks.runner import Row, benchmark, grouped, mean_and_deviation, net_named, table


def page(rows: list[Row]) -> list[str]:
    """One table for each net and number of images."""
    parts = []
    for (net, images), mine in grouped(rows, "net", "images"):
        off = [abs(one["said"] - one["found"]) for row in mine for one in row["shares"] if not one["measured"]]
        worst = f"an estimate is off by {np.mean(off):.4f} on average, {max(off):.4f} at most; " if off else ""
        parts.append(
            f"{net_named(net).title}: agreement with the unpruned net on the fifth of {images:,} unlabelled images that is "
            f"held back, {len(mine)} seed(s): {worst}the analysis took {np.mean([row['seconds'] for row in mine]):.0f} s."
        )
        lines = []
        for share in sorted({one["share"] for row in mine for one in row["shares"]}, reverse=True):
            found = [one for row in mine for one in row["shares"] if one["share"] == share]
            estimated = sum(not one["measured"] for one in found)
            values = [mean_and_deviation([one[name] for one in found]) for name in ("said", "found")]
            lines.append([f"{100 * share:.0f} %", *values, f"{estimated} of {len(found)}"])
        parts.append(table(["MACs", "`kt.analyze` says", "`kt.prune` gives", "estimated"], lines))
    return parts


@benchmark("analyze", cells={"net": ("resnet20",), "images": (1024,), "seed": (0, 1, 2)}, page=page)
def analyze(net: str, images: int, seed: int) -> Row:
    """Estimates before pruning.

    `kt.analyze` measures some shares of the MACs, and estimates the others from these. Each estimate stands beside what
    `kt.prune` with the same recipe (`repair="lstsq"`) and seed gives at that share. 1 MAC = 1.
    """
    chosen = net_named(net)
    model, (x, _) = chosen.model(), chosen.train(images, seed)
    recipe, begin = kt.Recipe(repair="lstsq", examples=images), time.perf_counter()
    analysis = kt.analyze(model, x, recipe=recipe, seed=seed, verbose=0)
    seconds = time.perf_counter() - begin
    shares = []
    for row in analysis.rows:
        measured = row.status == "measured"
        if row.status != "unreachable":
            found = row.agreement if measured else pruned(model, x, row.share, recipe, seed)
            shares.append({"share": row.share, "measured": measured, "said": row.agreement, "found": found})
    return {"shares": shares, "seconds": seconds}


def pruned(model: object, x: object, share: float, recipe: kt.Recipe, seed: int) -> float:
    """The agreement that pruning to this share keeps."""
    result = kt.prune(model, x, target=kt.Target(macs=share), recipe=recipe, seed=seed, verbose=0)
    assert result.repair is not None
    return result.repair.chosen.agreement
