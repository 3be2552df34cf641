"""Does a repaired start pay after fine-tuning? The same pruned network, repaired or not, after 0, 1, 3 and 10 epochs.

    python benchmarks/start.py --weights resnet20.keras --data cifar10_lossless.npz

`--data` holds uint8 images: x_train, y_train, x_test, y_test. The plan and the repair use 2,048 training images without their
labels; both starts then have the same recipe (`fine_tune.py`'s), order of images and augmentation. Each run is stored in
--results as soon as it is over; started again, the script goes on with the runs that are missing.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import keras
import numpy as np
import typer
from _common import RESULTS, accuracy, images, loss_for, normalise, setup, store, stored, table, write
from fine_tune import augmented

import keras_taylor as kt

AFTER = (0, 1, 3, 10)


def run(weights: Path, arrays: dict[str, Any], share: float, seed: int, start: str, rate: float) -> dict[str, Any]:
    """One fine-tuning, as a row of the results."""
    keras.utils.clear_session()
    keras.utils.set_random_seed(seed)
    model = keras.models.load_model(weights, compile=False)
    test = (normalise(arrays["x_test"]), arrays["y_test"])
    model.compile(loss=loss_for(model, test[0]))
    few = normalise(arrays["x_train"][np.random.default_rng(seed).permutation(len(arrays["x_train"]))[:2048]])
    repair = "lstsq" if start == "repaired" else None
    small = kt.prune(model, few, kt.Target(macs=share), repair=repair, batch_size=64, seed=seed).model
    data = augmented(arrays["x_train"], arrays["y_train"], 128, seed)
    schedule = keras.optimizers.schedules.CosineDecay(rate, AFTER[-1] * len(data))
    small.compile(keras.optimizers.SGD(schedule, momentum=0.9, nesterov=True, weight_decay=1e-4), model.loss)
    found = {"0": accuracy(small, *test)}
    for epoch in range(AFTER[-1]):
        small.fit(data, initial_epoch=epoch, epochs=epoch + 1, verbose=0)
        if epoch + 1 in AFTER:
            found[str(epoch + 1)] = accuracy(small, *test)
    return {"share": share, "seed": seed, "start": start, "accuracy": found}


def main(
    weights: Annotated[Path, typer.Option(help="A .keras file with a trained classifier.")],
    data: Annotated[Path, typer.Option(help="An .npz file with x_train, y_train, x_test, y_test.")],
    name: Annotated[str, typer.Option(help="What the results call the network and the images.")] = "",
    shares: Annotated[str, typer.Option(help="Shares of the MACs.")] = "0.5,0.3",
    rate: Annotated[float, typer.Option(help="Learning rate, decayed along a cosine.")] = 0.01,
    seeds: int = 3,
    results: Annotated[Path, typer.Option(help="JSON file; a .md file is written beside it.")] = RESULTS / "start.json",
) -> None:
    """Accuracy while fine-tuning from repaired and unrepaired starts."""
    environment, arrays, record = setup(0), images(data), stored(results)
    for seed in range(seeds):
        for share in map(float, shares.split(",")):
            for start in ("repaired", "not repaired"):
                if not any((r["share"], r["seed"], r["start"]) == (share, seed, start) for r in record["rows"]):
                    record["rows"].append(run(weights, arrays, share, seed, start, rate))
                    print(record["rows"][-1], flush=True)
                    store(results, record)
    lines = []
    for share in sorted({row["share"] for row in record["rows"]}, reverse=True):
        for start in ("repaired", "not repaired"):
            cells = []
            for epoch in AFTER:
                rows = [r for r in record["rows"] if (r["share"], r["start"]) == (share, start)]
                found = np.array([r["accuracy"][str(epoch)] for r in rows])
                cells.append(f"{found.mean():.3f} ± {found.std(ddof=1):.3f}" if len(found) > 1 else f"{found.mean():.3f}")
            lines.append([f"{100 * share:.0f} %", start, *cells])
    write(
        results.with_suffix(".md"),
        "# Does a repaired start pay after fine-tuning?",
        f"{name or f'{weights.stem}, {data.stem}'}: accuracy on {len(arrays['y_test']):,} test images after so many epochs "
        f"over {len(arrays['y_train']):,} labelled images, mean and standard deviation over {seeds} seeds. Both starts have "
        f"the same plan and recipe: SGD, momentum 0.9, learning rate {rate:g} with cosine decay, batch 128, flips and shifts.",
        table(["MACs", "start", *(f"{epoch} epochs" for epoch in AFTER)], lines),
        f"Made by `python benchmarks/start.py --weights {weights.name} --data {data.name}`. {environment}.",
    )


if __name__ == "__main__":
    typer.run(main)
