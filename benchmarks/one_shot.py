"""Criteria against each other on a trained classifier that is pruned in one shot."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

import keras_taylor as kt
from benchmarks.runner import Row, accuracy, benchmark, grouped, net_named, table
from keras_taylor.criteria import criterion_for

SHARES = (0.9, 0.8, 0.7, 0.6, 0.5)
CRITERIA: dict[str, kt.Criterion] = {
    "`taylor_gate` (default)": criterion_for("taylor_gate"),
    "`taylor` (Eq. 8, l2)": criterion_for("taylor"),
    "`taylor`, lambda 1e-3": kt.criteria.Taylor(flops=1e-3),
    "`taylor`, 1/M, no l2": kt.criteria.Taylor(normalize=None),
    "`magnitude`": criterion_for("magnitude"),
    "`random`": criterion_for("random"),
}
RANKS = {"saving": "score per MAC saved", "score": "plain score"}
# Measured before with other code: pretrained ResNet-20, 2,048 images to score, 932 test images, no training.
PUBLISHED: dict[str, tuple[float, ...]] = {
    "Torch-Pruning 1.6.1 Taylor": (0.885, 0.544, 0.347, 0.244, 0.117),
    "Torch-Pruning 1.6.1 magnitude": (0.893, 0.604, 0.272, 0.290, 0.129),
    "Eq. 8 + l2 per layer": (0.870, 0.561, 0.212, 0.095, 0.122),
    "mean abs(c), no 1/M, no l2": (0.899, 0.733, 0.479, 0.237, 0.142),
    "the same per MAC saved": (0.913, 0.866, 0.673, 0.435, 0.187),
    "second order per MAC saved": (0.911, 0.855, 0.723, 0.486, 0.237),
    "OBD per MAC saved": (0.912, 0.859, 0.645, 0.457, 0.294),
}
FIRST_ORDER = tuple(PUBLISHED)[:5]


@functools.lru_cache(1)
def prepared(net: str) -> tuple[Any, Any, Any, float]:
    """The model, the test images with their labels, and the accuracy of the model."""
    chosen = net_named(net)
    model, (x, y) = chosen.model(), chosen.test()
    return model, x, y, accuracy(model, x, y)


@functools.lru_cache(1)
def scores(net: str, criterion: str, images: int, seed: int) -> kt.Scores:
    """Scores of the first training images."""
    chosen = net_named(net)
    x, y = (part[:images] for part in chosen.raw("train"))
    model = prepared(net)[0]
    return kt.score(model, (chosen.scaled(x), y), criterion=CRITERIA[criterion], batch_size=128, seed=seed, verbose=0)


def page(rows: list[Row]) -> list[str]:
    """One table for each net; that of ResNet-20 has the published rows, too."""
    parts = []
    for net, mine in grouped(rows, "net"):
        count, dense = mine[0]["test_images"], mine[0]["unpruned"]
        parts.append(
            f"{net_named(net).title}: accuracy on {count:,} test images at these shares of the MACs, scored on the first "
            f"{mine[0]['images']:,} training images. Unpruned: {dense:.4f} (one standard error: "
            f"{np.sqrt(dense * (1 - dense) / count):.3f})."
        )
        found = {(row["criterion"], row["rank"], row["share"]): row["accuracy"] for row in mine}
        pairs = dict.fromkeys((row["criterion"], row["rank"]) for row in mine)
        shares = [share for share in SHARES if share in {row["share"] for row in mine}]
        lines = [
            [
                criterion,
                RANKS[rank],
                *(f"{found[criterion, rank, share]:.3f}" for share in shares if (criterion, rank, share) in found),
            ]
            for criterion, rank in pairs
        ]
        ours = [found.get((next(iter(CRITERIA)), "saving", share)) for share in SHARES]
        published = net == "resnet20" and None not in ours
        if published:
            lines += [[label, "published", *(f"{a:.3f}" for a in row)] for label, row in PUBLISHED.items()]
        parts.append(table(["criterion", "rank", *(f"{100 * share:.0f} %" for share in shares)], lines))
        if published:
            best = [max(PUBLISHED[row][i] for row in FIRST_ORDER) for i in range(len(SHARES))]
            gaps = ", ".join(f"{a - b:+.3f}" for a, b in zip(ours, best, strict=True))
            parts.append(
                f"The default against the best published first-order row: {gaps}. Published: measured before this package was "
                "written, with other code, on the same weights and images."
            )
    return parts


@benchmark(
    "one_shot",
    cells={
        "net": ("resnet20",),
        "criterion": tuple(CRITERIA),
        "rank": tuple(RANKS),
        "share": SHARES,
        "images": (2048,),
        "seed": (0,),
    },
    page=page,
)
def one_shot(net: str, criterion: str, rank: str, share: float, images: int, seed: int) -> Row:
    """One shot, no training.

    A trained classifier is pruned by one plan, and nothing is trained, repaired or recalibrated afterwards. The test images
    only measure. 1 MAC = 1.
    """
    model, x, y, dense = prepared(net)
    plan = kt.plan(scores(net, criterion, images, seed), kt.Target(macs=share), rank=rank)
    small = kt.rebuild(model, plan)
    check = kt.verify(model, plan, small)
    if not check.ok:
        raise RuntimeError(f"{criterion} at {share}: {check}")
    return {"accuracy": accuracy(small, x, y), "unpruned": dense, "test_images": len(x)}
