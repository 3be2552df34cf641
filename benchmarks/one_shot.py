"""Prune a trained classifier in one shot, without any training after it: accuracy at 90 to 50 % of the MACs.

Every criterion scores the first 2,048 training images; the test images only measure. The rows labelled "published" were
measured before this package was written, with other code, on the same weights and images.

    python benchmarks/one_shot.py --weights resnet20.keras --data cifar10_lossless.npz

`--data` holds uint8 images: x_train, y_train, x_test, y_test.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import keras
import numpy as np
import typer
from _common import MEAN, RESULTS, STD, accuracy, images, loss_for, normalise, setup, table, write

import keras_taylor as kt

SHARES = (0.9, 0.8, 0.7, 0.6, 0.5)
CRITERIA: dict[str, kt.Criterion] = {
    "`taylor_gate` (default)": kt.criteria.criterion_for("taylor_gate"),
    "`taylor` (Eq. 8, l2)": kt.criteria.criterion_for("taylor"),
    "`taylor`, lambda 1e-3": kt.criteria.Taylor(flops=1e-3),
    "`taylor`, 1/M, no l2": kt.criteria.Taylor(normalize=None),
    "`magnitude`": kt.criteria.criterion_for("magnitude"),
    "`random`": kt.criteria.criterion_for("random"),
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


def floats(text: str) -> tuple[float, ...]:
    """Comma-separated numbers."""
    return tuple(float(part) for part in text.split(","))


def main(
    weights: Annotated[Path, typer.Option(help="A .keras file with a trained classifier.")],
    data: Annotated[Path, typer.Option(help="An .npz file with x_train, y_train, x_test, y_test.")],
    name: Annotated[str, typer.Option(help="What the results call the network and the images.")] = "",
    examples: Annotated[int, typer.Option(help="Training images to score on: the first ones.")] = 2048,
    mean: Annotated[str, typer.Option(help="Subtracted from x / 255.")] = ",".join(map(str, MEAN)),
    std: Annotated[str, typer.Option(help="What the difference is divided by.")] = ",".join(map(str, STD)),
    seed: int = 0,
    output: Annotated[Path, typer.Option(help="Markdown file for the table.")] = RESULTS / "one_shot.md",
) -> None:
    """Accuracy after one-shot pruning, criterion by criterion."""
    environment = setup(seed)
    arrays = images(data)
    x, x_test = (normalise(arrays[part], floats(mean), floats(std)) for part in ("x_train", "x_test"))
    scored, y_test = (x[:examples], arrays["y_train"][:examples]), arrays["y_test"]
    model = keras.models.load_model(weights, compile=False)
    model.compile(loss=loss_for(model, x_test))
    dense = accuracy(model, x_test, y_test)
    print(f"unpruned: {dense:.4f}, {kt.trace(model).macs:,} MACs")
    rows, found = [], {}
    for label, criterion in CRITERIA.items():
        start = time.perf_counter()
        scores = kt.score(model, scored, criterion=criterion, batch_size=128, seed=seed, verbose=0)
        print(f"{label}: scored in {time.perf_counter() - start:.1f} s")
        for rank, words in RANKS.items():
            accuracies = []
            for share in SHARES:
                plan = kt.plan(scores, kt.Target(macs=share), rank=rank)
                small = kt.rebuild(model, plan)
                check = kt.verify(model, plan, small)
                if not check.ok:
                    raise SystemExit(f"{label} at {share}: {check}")
                accuracies.append(accuracy(small, x_test, y_test))
            found[label, rank] = accuracies
            rows.append([label, words, *(f"{a:.3f}" for a in accuracies)])
            print(" | ".join(rows[-1]), flush=True)
    best = [max(PUBLISHED[row][i] for row in FIRST_ORDER) for i in range(len(SHARES))]
    ours = found["`taylor_gate` (default)", "saving"]
    gaps = [a - b for a, b in zip(ours, best, strict=True)]
    verdict = f"The default against the best published first-order row: {', '.join(f'{gap:+.3f}' for gap in gaps)}."
    print(verdict)
    published = [[label, "published", *(f"{a:.3f}" for a in row)] for label, row in PUBLISHED.items()]
    error = np.sqrt(dense * (1 - dense) / len(y_test))
    write(
        output,
        "# One shot, no training",
        f"{name or f'{weights.stem}, {data.stem}'}: accuracy on {len(y_test):,} test images at these shares of the MACs, "
        f"scored on the first {examples:,} training images, nothing trained or recalibrated afterwards. Unpruned: "
        f"{dense:.4f} (one standard error: {error:.3f}). 1 MAC = 1.",
        table(["criterion", "rank", *(f"{100 * share:.0f} %" for share in SHARES)], [*rows, *published]),
        verdict,
        "Published: measured before this package was written, with other code, on the same weights and images.",
        f"Made by `python benchmarks/one_shot.py --weights resnet20.keras --data cifar10_lossless.npz`. {environment}.",
    )


if __name__ == "__main__":
    typer.run(main)
