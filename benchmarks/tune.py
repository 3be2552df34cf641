"""Joint reconstruction after least squares: what a budget of time buys, without labels."""

from __future__ import annotations

import time

import keras_taylor as kt
from benchmarks.runner import Row, accuracy, benchmark, grouped, mean_and_deviation, net_named, table


def page(rows: list[Row]) -> list[str]:
    """One table for each net and number of images."""
    parts = []
    for (net, images), mine in grouped(rows, "net", "images"):
        chosen = net_named(net)
        parts.append(
            f"{chosen.title}: {mine[0]['unpruned']:.3f} unpruned. {images:,} unlabelled images, a fifth of them held back; no "
            f"label is used but to measure. Mean and standard deviation over {len({row['seed'] for row in mine})} seeds."
        )
        lines = []
        for share, seconds in sorted({(row["share"], row["seconds"]) for row in mine}, reverse=True):
            found = [row for row in mine if (row["share"], row["seconds"]) == (share, seconds)]
            cells = [mean_and_deviation([row[name] for row in found]) for name in ("squares", "tuned")]
            passes = sum(row["passes"] for row in found) / len(found)
            lines.append([f"{100 * share:.0f} %", f"{seconds:.0f}", *cells, f"{passes:.0f}"])
        parts.append(table(["MACs", "seconds", "`lstsq`", "`lstsq` + `tune`", "passes"], lines))
    return parts


@benchmark(
    "tune",
    cells={"net": ("resnet20",), "share": (0.5, 0.4, 0.3), "images": (2048,), "seconds": (120.0, 300.0), "seed": (0, 1, 2)},
    page=page,
)
def tune(net: str, share: float, images: int, seconds: float, seed: int) -> Row:
    """Tuning after least squares.

    All layers at once learn to compute what the original does, wherever channels are read (`kt.repairs.Tune`), for so many
    seconds on this machine, or for 40 passes if that is sooner. 1 MAC = 1.
    """
    chosen = net_named(net)
    model, test = chosen.model(), chosen.test()
    x, _ = chosen.train(images, seed)
    scores = kt.score(model, x, labels="sampled", batch_size=64, seed=seed, verbose=0)
    plan = kt.plan(scores, kt.Target(macs=share))
    small, begin = kt.rebuild(model, plan), time.perf_counter()
    squares = kt.repair(model, plan, small, x, method="lstsq", examples=len(x), seed=seed, verbose=0)
    tuned = kt.repair(model, plan, small, x, method=kt.repairs.Tune(seconds=seconds), examples=len(x), seed=seed, verbose=0)
    return {
        "unpruned": accuracy(model, *test),
        "squares": accuracy(squares.model, *test),
        "tuned": accuracy(tuned.model, *test),
        "passes": tuned.attempts[-1].passes,
        "wall": time.perf_counter() - begin,
    }
