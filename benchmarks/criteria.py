"""What criteria cost: scoring against one epoch of training over the same images, in turns in one process.

All first-order criteria together; the same with those that one more backward pass pays for (Fisher information from sampled
labels); the exact Gauss-Newton diagonal; Hutchinson's estimate. The epoch is `fit` with SGD, the same batches,
after its tracing, as scoring is. The median of the ratios of each pair is reported.

    python benchmarks/criteria.py --weights resnet20.keras --data cifar10_lossless.npz
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import keras
import numpy as np
import tensorflow as tf
import typer
from _common import RESULTS, images, interleaved, loss_for, normalise, setup, table, write

import keras_taylor as kt
from keras_taylor.criteria import criterion_for
from keras_taylor.studies._cost import scorer

FIRST_ORDER = [
    *("activation", "activation_std", "apoz", "mutual_information", "taylor", "taylor_gate", "taylor_2019", "empirical_fisher"),
    *("blend", "random", "magnitude", "l1", "l2", "fpgm", "lamp"),
]
VARIANTS = [kt.criteria.Taylor(**one) for one in ({"aggregate": "nvlabs"}, {"aggregate": "jacobgil"}, {"tied": "absolute"})]


def main(
    weights: Annotated[Path | None, typer.Option(help="A .keras classifier; without, an untrained MobileNet.")] = None,
    data: Annotated[Path | None, typer.Option(help="An .npz file with x_train, y_train; without, noise.")] = None,
    name: Annotated[str, typer.Option(help="What the results call the network and the images.")] = "",
    count: Annotated[int, typer.Option(help="Images.")] = 1024,
    batch: int = 64,
    repetitions: int = 5,
    output: Annotated[Path, typer.Option(help="Markdown file for the table.")] = RESULTS / "criteria_cost.md",
) -> None:
    """Time criteria against training."""
    environment, rng = setup(0), np.random.default_rng(0)
    if weights is None:
        options = {"weights": None, "input_shape": (64, 64, 3), "classes": 10, "classifier_activation": None}
        model = keras.applications.MobileNet(alpha=0.5, **options)
    else:
        model = keras.models.load_model(weights, compile=False)
    if data is None:
        x, y = rng.normal(size=(count, *model.input_shape[1:])).astype("float32"), rng.integers(0, 10, count)
    else:
        arrays = images(data)
        few = rng.permutation(len(arrays["x_train"]))[:count]
        x, y = normalise(arrays["x_train"][few]), np.ravel(arrays["y_train"][few])
    model.compile(keras.optimizers.SGD(1e-8), loss_for(model, x))
    classes = int(model.output_shape[-1])
    first = [*FIRST_ORDER, *VARIANTS]
    cases: dict[str, tuple[list[Any], float]] = {
        f"all {len(first)} first-order criteria together": (first, 0.65),
        "taylor_gate alone": (["taylor_gate"], 0.65),
        "the same and Fisher information (obd, taylor2)": ([*first, "obd", "taylor2"], 1.3),
        f"exact Gauss-Newton, {classes} classes": (["obd_exact"], (classes + 1) / 2),
        f"taylor_logits, {classes} classes": (["taylor_logits"], (classes + 1) / 2),
        "Hutchinson, one draw": (["obd_hutchinson"], float("nan")),
    }
    dataset = tf.data.Dataset.from_tensor_slices((x, y)).batch(batch)
    contenders = [scorer(model, [criterion_for(one) for one in criteria], x, y, batch) for criteria, _ in cases.values()]

    def train() -> None:
        model.fit(dataset, verbose=0)

    interleaved(1, train, *contenders)
    seconds = np.array(interleaved(repetitions, train, *contenders))
    rows, good = [], True
    for (what, (_, allowed)), mine in zip(cases.items(), seconds[1:], strict=True):
        ratios = mine / seconds[0]
        low, ratio, high = np.percentile(ratios, [25, 50, 75])
        met = not ratio > allowed
        good &= met
        rows.append([what, f"{np.median(mine):.2f}", f"{ratio:.2f}", f"{low:.2f} to {high:.2f}"])
        rows[-1] += ["" if np.isnan(allowed) else f"{allowed:.2f}: {'met' if met else 'NOT MET'}"]
        print(" | ".join(rows[-1]), flush=True)
    write(
        output,
        "# What criteria cost",
        f"{name or model.name}: scoring {count:,} images in batches of {batch} against one epoch of training on them (SGD, "
        f"{np.median(seconds[0]):.2f} s); medians of {repetitions} repetitions in turns, without tracing.",
        table(["scored with", "seconds", "epochs of training", "quartiles", "at most"], rows),
        f"Made by `python benchmarks/criteria.py`. {environment}.",
    )
    raise typer.Exit(int(not good))


if __name__ == "__main__":
    typer.run(main)
