"""What repair costs: `kt.repair` by least squares against one epoch of `fit` over the same images.

Each runs in a process of its own, in turns: seconds (of training without compiling it), and growth of the peak memory over the
process that holds the models and the images.

    python benchmarks/repair_cost.py --weights resnet20.keras --data cifar10_lossless.npz
"""

from __future__ import annotations

import gc
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import keras
import numpy as np
import typer
from _common import RESULTS, forget_peak, images, normalise, setup, status, store, stored, table, write

import keras_taylor as kt


def measure(kind: str, weights: Path, data: Path, count: int, batch: int) -> dict[str, float]:
    """Seconds and MB of one repair at half the MACs, or of one epoch of the unpruned model."""
    arrays = images(data)
    x, y = normalise(arrays["x_train"][:count]), arrays["y_train"][:count]
    model = keras.models.load_model(weights, compile=False)
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    plan = kt.plan(kt.score(model, criterion="magnitude"), kt.Target(macs=0.5))
    small = kt.rebuild(model, plan)
    gc.collect()
    forget_peak()
    before = status("VmRSS")
    if kind == "train":
        model.fit(x[:batch], y[:batch], batch, verbose=0)  # compiles
    start = time.perf_counter()
    if kind == "train":
        model.fit(x, y, batch, verbose=0)
    else:
        kt.repair(model, plan, small, x, method="lstsq", verbose=0, examples=count, batch_size=batch)
    return {"seconds": time.perf_counter() - start, "MB": status("VmHWM") - before}


def main(
    weights: Annotated[Path, typer.Option(help="A .keras file with a trained classifier that puts out logits.")],
    data: Annotated[Path, typer.Option(help="An .npz file with x_train, y_train, x_test, y_test.")],
    count: Annotated[int, typer.Option(help="Images.")] = 2048,
    batch: int = 64,
    repetitions: int = 3,
    child: Annotated[str, typer.Option(hidden=True)] = "",
    results: Annotated[Path, typer.Option(help="JSON file that rows are added to; a .md file beside it.")] = RESULTS
    / "repair_cost.json",
) -> None:
    """Time and weigh repair against training."""
    if child:
        print(json.dumps(measure(child, weights, data, count, batch)))
        return
    environment = setup(0)
    found: dict[str, list[dict[str, float]]] = {"repair": [], "train": []}
    arguments = [f"--weights={weights}", f"--data={data}", f"--count={count}", f"--batch={batch}"]
    for _ in range(repetitions):
        for kind, seen in found.items():
            command = [sys.executable, __file__, f"--child={kind}", *arguments]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            seen.append(json.loads(done.stdout.splitlines()[-1]))
            print(kind, seen[-1], flush=True)
    medians = {(kind, what): np.median([one[what] for one in seen]) for kind, seen in found.items() for what in seen[0]}
    row: dict[str, Any] = {"model": weights.stem, "images": f"{count:,}, {data.stem}", "batch": batch}
    for what, digits in (("seconds", 1), ("MB", 0)):
        row |= {f"{kind} {what}": f"{medians[kind, what]:.{digits}f}" for kind in found}
        row[f"ratio of {what}"] = f"{medians['repair', what] / medians['train', what]:.2f}"
    record = stored(results)
    record["rows"] = [one for one in record["rows"] if one["model"] != row["model"]] + [row]
    store(results, record)
    write(
        results.with_suffix(".md"),
        "# What repair costs",
        'Least-squares repair (`method="lstsq"`) at half the MACs against one epoch of `fit` (SGD) of the unpruned model over '
        f"the same images: medians of {repetitions} runs in turns, each in a process of its own. MB is the growth of the peak "
        "memory over the process that holds model and images.",
        table(list(row), [list(one.values()) for one in record["rows"]]),
        f"Made by `python benchmarks/repair_cost.py`. {environment}.",
    )


if __name__ == "__main__":
    typer.run(main)
