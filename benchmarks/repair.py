"""Prune and repair a classifier without training and labels: each method alone and together, at 90 to 30 % of the MACs.

Channels are scored, and layers refitted, on the same few unlabelled training images; scoring samples labels from the network,
and repair holds a fifth of the images back to judge itself. The calibration seed chooses them. The test images only measure.

    python benchmarks/repair.py --weights resnet20.keras --data cifar10_lossless.npz

`--data` holds uint8 images: x_train, y_train, x_test, y_test. Each share and seed is stored in --results as soon as it is
measured; started again, the script goes on with what is missing.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import keras
import numpy as np
import typer
from _common import RESULTS, accuracy, images, loss_for, normalise, setup, store, stored, table, write

import keras_taylor as kt

SHARES = (0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3)
# What is tried: the method, options of kt.repair, and the row that it starts from.
METHODS: dict[str, tuple[str, dict[str, Any], str]] = {
    "batchnorm": ("batchnorm", {}, "none"),
    "bias": ("bias", {}, "none"),
    "lstsq": ("lstsq", {}, "none"),
    "lstsq, rows=120": ("lstsq", {"rows": 120}, "none"),
    "lstsq + batchnorm": ("batchnorm", {}, "lstsq"),
    "lstsq, residual=False": ("lstsq", {"residual": False}, "none"),
    "lstsq, activation=False": ("lstsq", {"activation": False}, "none"),
}
PARTS = ("lstsq, residual=False", "lstsq, activation=False")
# Measured before with other code on the same weights and images; Torch-Pruning with BatchNorm recalibrated on 2,048 images.
PUBLISHED: dict[str, tuple[float, ...]] = {
    "prototype: least squares on 768 images": (0.915, 0.912, 0.911, 0.892, 0.858, 0.789, 0.725),
    "Torch-Pruning 1.6.1 Taylor + BatchNorm": (0.865, 0.780, 0.676, 0.542, 0.435),
    "Torch-Pruning 1.6.1 magnitude + BatchNorm": (0.870, 0.791, 0.738, 0.604, 0.458),
}


def measure(
    model: Any, scores: kt.Scores, share: float, seed: int, x: Any, judge: Any, methods: Sequence[str]
) -> dict[str, Any]:
    """Accuracy and seconds of these methods at one share with one calibration seed."""
    plan = kt.plan(scores, kt.Target(macs=share))
    models = {"none": kt.rebuild(model, plan)}
    row: dict[str, Any] = {"share": share, "seed": seed, "macs": plan.after["macs"] / plan.before["macs"]}
    row["none"] = judge(models["none"])
    agreements = {}
    for name in methods:
        method, options, start = METHODS[name]
        if start not in models:
            models[start] = kt.repair(
                model, plan, models["none"], x, method=METHODS[start][0], examples=len(x), seed=seed, verbose=0
            ).model
        began = time.perf_counter()
        fixed = kt.repair(model, plan, models[start], x, method=method, examples=len(x), seed=seed, verbose=0, **options)
        row[f"{name} seconds"] = round(time.perf_counter() - began, 1)
        models[name] = fixed.model
        row[name] = judge(fixed.model)
        agreements.setdefault("none", (-fixed.attempts[0].agreement, fixed.attempts[0].error))
        agreements[name] = -fixed.attempts[-1].agreement, fixed.attempts[-1].error
    if "lstsq" in methods:
        row["chosen"] = min((found, name) for name, found in agreements.items() if "=" not in name)[1]
        row["auto"] = row[row["chosen"]]
    return row


def summary(rows: list[dict[str, Any]], published: bool) -> str:
    """Mean accuracy over the seeds, and its spread."""
    lines = []
    shares = [share for share in SHARES if any(row["share"] == share for row in rows)]
    for name in ["none", *METHODS, "auto"]:
        if not any(name in row for row in rows):
            continue
        cells = []
        for share in shares:
            found = np.array([row[name] for row in rows if row["share"] == share and name in row])
            if not len(found):
                cells.append("")
                continue
            spread = f" ± {found.std(ddof=1):.3f}" if len(found) > 1 and found.std() > 0 else ""
            cells.append(f"{found.mean():.3f}{spread}")
        lines.append([f"`{name}`", *cells])
    for name, accuracies in PUBLISHED.items() if published else ():
        known = dict(zip(SHARES, accuracies, strict=False))
        lines.append([name, *(f"{known[share]:.3f}" if share in known else "" for share in shares)])
    return table(["method", *(f"{100 * share:.0f} %" for share in shares)], lines)


def main(
    weights: Annotated[Path, typer.Option(help="A .keras file with a trained classifier.")],
    data: Annotated[Path, typer.Option(help="An .npz file with x_train, y_train, x_test, y_test.")],
    name: Annotated[str, typer.Option(help="What the results call the network and the images.")] = "",
    count: Annotated[int, typer.Option(help="Unlabelled training images.")] = 2048,
    criterion: Annotated[str, typer.Option(help="That channels are ranked by.")] = "taylor_gate",
    scaling: Annotated[str, typer.Option(help="torch: ImageNet's mean and deviation; tf: -1 to 1.")] = "torch",
    agreement: Annotated[
        bool, typer.Option(help="Judge by agreement with the unpruned network's top-1, not by labels.")
    ] = False,
    published: Annotated[bool, typer.Option(help="Show the published rows of ResNet-20.")] = False,
    shares: Annotated[str, typer.Option(help="Shares of the MACs.")] = ",".join(map(str, SHARES)),
    methods: Annotated[
        list[str], typer.Option("--method", help="A method that is measured where it is missing; may be repeated.")
    ] = list(METHODS),  # noqa: B006
    parts: Annotated[bool, typer.Option(help="Leave out parts of lstsq, too, with the first seed.")] = False,
    seeds: int = 3,
    results: Annotated[Path, typer.Option(help="JSON file; a .md file is written beside it.")] = RESULTS / "repair.json",
) -> None:
    """Accuracy of a repaired network, without training and without labels."""
    environment = setup(0)
    arrays = images(data)
    model = keras.models.load_model(weights, compile=False)
    x_test = scale(arrays["x_test"], scaling)
    model.compile(loss=loss_for(model, x_test))
    y_test = model.predict(x_test, verbose=0).argmax(-1) if agreement else arrays["y_test"]

    def judge(one: Any) -> float:
        return accuracy(one, x_test, y_test)

    record = stored(results)
    rows = {(row["share"], row["seed"]): row for row in record["rows"]}
    for seed in range(seeds):
        wanted = [name for name in methods if name not in PARTS or (parts and seed == 0)]
        todo = {share: [n for n in wanted if n not in rows.get((share, seed), {})] for share in map(float, shares.split(","))}
        if not any(todo.values()):
            continue
        chosen = np.random.default_rng(seed).permutation(len(arrays["x_train"]))[:count]
        x = scale(arrays["x_train"][chosen], scaling)
        scores = kt.score(model, x, criterion=criterion, labels="sampled", batch_size=64, seed=seed, verbose=0)
        for share, missing in sorted(todo.items(), reverse=True):
            if missing:
                row = measure(model, scores, share, seed, x, judge, missing)
                print(row, flush=True)
                rows[share, seed] = rows.get((share, seed), {}) | row
                record["rows"] = list(rows.values())
                store(results, record)
    picked = sorted({row["chosen"] for row in record["rows"] if "chosen" in row})
    options = f"--count {count} --scaling {scaling} --criterion {criterion}{' --agreement' * agreement}"
    usual = np.median([row["lstsq seconds"] for row in record["rows"] if "lstsq seconds" in row] or [0.0])
    what = "agreement with the unpruned network's top-1" if agreement else f"accuracy (unpruned {judge(model):.4f})"
    write(
        results.with_suffix(".md"),
        "# Repair without training and without labels",
        f"{name or f'{weights.stem}, {data.stem}'}: {what} on {len(x_test):,} images that are not used otherwise; {count:,} "
        f'unlabelled training images to score on (`{criterion}`, `labels="sampled"`) and to repair with, mean and standard '
        f"deviation over {seeds} calibration seeds. Ranked per MAC saved. 1 MAC = 1.",
        summary(record["rows"], published),
        f"Figures without a deviation were measured with one seed. "
        f"`auto` takes what agrees best with the unpruned net on the fifth of the images that is held back; here: "
        f"{', '.join(picked)}. A least-squares repair took {usual:.0f} s (median, copying and judging included; other programs "
        "may have run).",
        *(["Published rows: measured with other code on the same weights and test images."] if published else []),
        f"Made by `python benchmarks/repair.py --weights {weights.name} --data {data.name} {options}`. {environment}.",
    )
    print(summary(record["rows"], published))


def scale(x: Any, scaling: str) -> Any:
    """Images as the network was trained on."""
    return normalise(x) if scaling == "torch" else normalise(x, (0.5,) * 3, (0.5,) * 3)


if __name__ == "__main__":
    typer.run(main)
