"""Methods of repair against each other, without training and without labels."""

from __future__ import annotations

import functools
import time
from typing import Any

import numpy as np

import keras_taylor as kt
from benchmarks.runner import Row, accuracy, benchmark, grouped, mean_and_deviation, net_named, table

SHARES = (0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3)
# What is tried: the method of kt.repair, and what it starts from.
METHODS: dict[str, tuple[str | kt.repairs.RepairMethod, str]] = {
    "batchnorm": ("batchnorm", "none"),
    "bias": ("bias", "none"),
    "lstsq": ("lstsq", "none"),
    "lstsq, rows=120": (kt.repairs.LeastSquares(rows=120), "none"),
    "lstsq + batchnorm": ("batchnorm", "lstsq"),
    "lstsq, residual=False": (kt.repairs.LeastSquares(residual=False), "none"),
    "lstsq, activation=False": (kt.repairs.LeastSquares(activation=False), "none"),
}
USUAL = ("none", "batchnorm", "bias", "lstsq", "lstsq + batchnorm", "auto")
SHOWN = ("none", *METHODS, "auto")
# Measured before with other code on the same weights and images; Torch-Pruning with BatchNorm recalibrated on 2,048 images.
PUBLISHED: dict[str, tuple[float, ...]] = {
    "prototype: least squares on 768 images": (0.915, 0.912, 0.911, 0.892, 0.858, 0.789, 0.725),
    "Torch-Pruning 1.6.1 Taylor + BatchNorm": (0.865, 0.780, 0.676, 0.542, 0.435),
    "Torch-Pruning 1.6.1 magnitude + BatchNorm": (0.870, 0.791, 0.738, 0.604, 0.458),
}
PUBLISHED_FOR = ("resnet20", "taylor_gate")


@functools.lru_cache(1)
def prepared(net: str) -> tuple[Any, Any, Any, float]:
    """The model, the test images and what it should say of them, and how often it does."""
    chosen = net_named(net)
    model, (x, y) = chosen.model(), chosen.test()
    return model, x, y, accuracy(model, x, y)


@functools.lru_cache(1)
def scored(net: str, criterion: str, images: int, seed: int) -> tuple[kt.Scores, Any]:
    """Scores from unlabelled training images, and these."""
    x, _ = net_named(net).train(images, seed)
    model = prepared(net)[0]
    return kt.score(model, x, criterion=criterion, labels="sampled", batch_size=64, seed=seed, verbose=0), x


@functools.lru_cache(16)  # all methods at one share with one seed
def repaired(net: str, criterion: str, images: int, seed: int, share: float, method: str) -> dict[str, Any]:
    """The repaired model, the seconds it took, and how well it does on the images that repair holds back."""
    model = prepared(net)[0]
    scores, x = scored(net, criterion, images, seed)
    plan = kt.plan(scores, kt.Target(macs=share))
    if method == "none":
        return {"model": kt.rebuild(model, plan), "macs": plan.after["macs"] / plan.before["macs"]}
    chosen, start = METHODS[method]
    before = repaired(net, criterion, images, seed, share, start)
    begin = time.perf_counter()
    fixed = kt.repair(model, plan, before["model"], x, method=chosen, examples=len(x), seed=seed, verbose=0)
    attempts = {
        which: (one.agreement, one.error) for which, one in (("before", fixed.attempts[0]), ("held", fixed.attempts[-1]))
    }
    return {"model": fixed.model, "macs": before["macs"], "seconds": time.perf_counter() - begin, **attempts}


def best(of: dict[str, dict[str, Any]]) -> str:
    """What agrees best with the unpruned net on the images that are held back; of equal ones the least error."""
    held = {method: found["held"] for method, found in of.items() if method != "none"}
    held["none"] = of["lstsq"]["before"]
    return min(held, key=lambda method: (-held[method][0], held[method][1], method))


def page(rows: list[Row]) -> list[str]:
    """One section for each net and criterion."""
    parts = []
    for (net, criterion), mine in grouped(rows, "net", "criterion"):
        chosen = net_named(net)
        agrees = chosen.judged_by == "agreement"
        what = "agreement with the unpruned network's top-1" if agrees else f"accuracy (unpruned {mine[0]['unpruned']:.4f})"
        seeds = {row["seed"] for row in mine}
        picked = sorted({row["picked"] for row in mine if row.get("picked")})
        taken = f" `auto` took {', '.join(picked)}." if picked else ""
        usual = np.median([row["seconds"] for row in mine if row["method"] == "lstsq"])
        parts += [
            f"## {net}, ordered by `{criterion}`",
            f"{chosen.title}: {what} on {mine[0]['test_images']:,} images that are not used otherwise; {mine[0]['images']:,} "
            f"unlabelled training images, mean and standard deviation over {len(seeds)} calibration seeds; figures without a "
            f"deviation were measured with one.{taken} A least-squares repair took {usual:.0f} s "
            "(median, copying and judging included; other programs may have run).",
            _table(mine, PUBLISHED_FOR == (net, criterion)),
        ]
        if PUBLISHED_FOR == (net, criterion):
            parts.append("The last rows were measured with other code on the same weights and test images.")
    return parts


def _table(rows: list[Row], published: bool) -> str:
    shares = [share for share in SHARES if any(row["share"] == share for row in rows)]
    lines = [
        [
            f"`{method}`",
            *(
                mean_and_deviation([row["accuracy"] for row in rows if (row["share"], row["method"]) == (share, method)])
                for share in shares
            ),
        ]
        for method in SHOWN
        if any(row["method"] == method for row in rows)
    ]
    for name, accuracies in PUBLISHED.items() if published else ():
        known = dict(zip(SHARES, accuracies, strict=False))
        lines.append([name, *(f"{known[share]:.3f}" if share in known else "" for share in shares)])
    return table(["method", *(f"{100 * share:.0f} %" for share in shares)], lines)


@benchmark(
    "repair",
    cells={
        "net": ("resnet20",),
        "criterion": ("taylor_gate",),
        "images": (2048,),
        "seed": (0, 1, 2),
        "share": SHARES,
        "method": USUAL,
    },
    page=page,
)
def repair(net: str, criterion: str, images: int, seed: int, share: float, method: str) -> Row:
    """Repair without training and without labels.

    Channels are scored, and layers refitted, on the same few unlabelled training images, which the seed chooses; scoring
    samples labels from the network (`labels="sampled"`), and repair holds a fifth of the images back to judge itself. `auto`
    takes what agrees best with the unpruned net on that fifth. The test images only measure. Ranked per MAC saved. 1 MAC = 1.
    """
    _, x, y, dense = prepared(net)
    common = (net, criterion, images, seed, share)
    row: Row = {"unpruned": dense, "test_images": len(x)}
    if method == "auto":
        of = {one: repaired(*common, one) for one in USUAL[:-1]}
        method = row["picked"] = best(of)
    found = repaired(*common, method)
    return row | {"accuracy": accuracy(found["model"], x, y), "macs": found["macs"], "seconds": found.get("seconds")}
