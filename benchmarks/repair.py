"""Repair a pruned classifier without training and without labels: each method alone and together, at 90 to 30 % of the MACs.

Channels are scored and ranked as by default; the calibration seed chooses which training images repair sees and which it holds
back. The test images only measure.

    python benchmarks/repair.py --weights resnet20.keras --data cifar10_lossless.npz

`--data` holds uint8 images: x_train, y_train, x_test, y_test. Each share and seed is stored in --results as soon as it is
measured; started again, the script goes on with what is missing.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Annotated, Any

import keras
import numpy as np
import typer
from _common import RESULTS, accuracy, images, loss_for, normalise, setup, table, write

import keras_taylor as kt

SHARES = (0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3)
METHODS: dict[str, tuple[str, ...]] = {
    "none": (),
    "batchnorm": ("batchnorm",),
    "bias": ("bias",),
    "lstsq": ("lstsq",),
    "lstsq + batchnorm": ("lstsq", "batchnorm"),
}
# Measured before with other code on the same weights and images; Torch-Pruning with BatchNorm recalibrated on 2,048 images.
PUBLISHED: dict[str, tuple[float, ...]] = {
    "prototype: least squares on 768 images": (0.915, 0.912, 0.911, 0.892, 0.858, 0.789, 0.725),
    "Torch-Pruning 1.6.1 Taylor + BatchNorm": (0.865, 0.780, 0.676, 0.542, 0.435),
    "Torch-Pruning 1.6.1 magnitude + BatchNorm": (0.870, 0.791, 0.738, 0.604, 0.458),
}


def measure(
    model: Any, scores: kt.Scores, share: float, seed: int, x: Any, test: tuple[Any, Any], count: int
) -> dict[str, Any]:
    """Accuracy and seconds of every method at one share with one calibration seed."""
    plan = kt.plan(scores, kt.Target(macs=share))
    small = kt.rebuild(model, plan)
    row: dict[str, Any] = {"share": share, "seed": seed, "macs": plan.after["macs"] / plan.before["macs"]}
    judged = []
    for name, method in METHODS.items():
        start = time.perf_counter()
        fixed = kt.repair(model, plan, small, x, method, examples=count, seed=seed) if method else None
        row[name] = accuracy(fixed.model if fixed else small, *test)
        row[f"{name} seconds"] = round(time.perf_counter() - start, 1)
        if fixed:
            judged.append((fixed.attempts[-1].error, name))
    row["chosen"] = min(judged)[1]
    row["auto"] = row[row["chosen"]]
    return row


def summary(rows: list[dict[str, Any]]) -> str:
    """Mean accuracy over the seeds, and its spread."""
    lines = []
    for name in [*METHODS, "auto"]:
        cells = []
        for share in SHARES:
            found = np.array([row[name] for row in rows if row["share"] == share])
            spread = f" ± {found.std(ddof=1):.3f}" if len(found) > 1 and found.std() > 0 else ""
            cells.append(f"{found.mean():.3f}{spread}" if len(found) else "")
        lines.append([f"`{name}`", *cells])
    published = [[name, *(f"{a:.3f}" for a in found), *[""] * (7 - len(found))] for name, found in PUBLISHED.items()]
    return table(["method", *(f"{100 * share:.0f} %" for share in SHARES)], [*lines, *published])


def main(
    weights: Annotated[Path, typer.Option(help="A .keras file with a trained classifier.")],
    data: Annotated[Path, typer.Option(help="An .npz file with x_train, y_train, x_test, y_test.")],
    name: Annotated[str, typer.Option(help="What the results call the network and the images.")] = "",
    scored: Annotated[int, typer.Option(help="Labelled training images to score on: the first ones.")] = 2048,
    count: Annotated[int, typer.Option(help="Unlabelled training images for repair, a fifth of them held back.")] = 2048,
    seeds: int = 3,
    results: Annotated[Path, typer.Option(help="JSON file; a .md file is written beside it.")] = RESULTS / "repair.json",
) -> None:
    """Accuracy of a repaired network, without training."""
    environment = setup(0)
    arrays = images(data)
    x, test = normalise(arrays["x_train"]), (normalise(arrays["x_test"]), arrays["y_test"])
    model = keras.models.load_model(weights, compile=False)
    model.compile(loss=loss_for(model, test[0]))
    scores = kt.score(model, (x[:scored], arrays["y_train"][:scored]), batch_size=128)
    record: dict[str, Any] = json.loads(results.read_text()) if results.exists() else {"rows": []}
    results.parent.mkdir(parents=True, exist_ok=True)
    for seed in range(seeds):
        for share in SHARES:
            if any((row["share"], row["seed"]) == (share, seed) for row in record["rows"]):
                continue
            row = measure(model, scores, share, seed, x, test, count)
            print(row, flush=True)
            record["rows"].append(row)
            part = results.with_suffix(".part")
            part.write_text(json.dumps(record, indent=1), encoding="utf-8")
            part.replace(results)
    chosen = sorted({row["chosen"] for row in record["rows"]})
    slowest = max(row["lstsq seconds"] for row in record["rows"])
    write(
        results.with_suffix(".md"),
        "# Repair without training",
        f"{name or f'{weights.stem}, {data.stem}'}: accuracy on {len(test[1]):,} test images, unpruned "
        f"{accuracy(model, *test):.4f}; {count:,} unlabelled training images (a fifth of them held back), mean and standard "
        f"deviation over {seeds} calibration seeds. Scored on {scored:,} labelled images with `taylor_gate`, ranked per MAC "
        "saved. 1 MAC = 1.",
        summary(record["rows"]),
        f"`auto` takes what agrees best with the unpruned net on the held-back images; here: {', '.join(chosen)}. The slowest "
        f"least-squares repair took {slowest:.0f} s, copying, judging and testing included.",
        "Published rows: measured before this package was written, with other code, on the same weights and images.",
        f"Made by `python benchmarks/repair.py --weights resnet20.keras --data cifar10_lossless.npz`. {environment}.",
    )
    print(summary(record["rows"]))


if __name__ == "__main__":
    typer.run(main)
