"""Quantization-aware training against calibration alone, on files, and what an epoch of it costs."""

from __future__ import annotations

import time
from typing import Any

import keras
import numpy as np

import keras_taylor as kt
from benchmarks.runner import Goal, Row, accuracy, benchmark, grouped, mean_and_deviation, net_named, table

TOLERANCE = 0.005
"""How far below calibration alone a trained file may be: a handful of test images."""


def page(rows: list[Row]) -> list[str]:
    """One table for each net."""
    parts = []
    for net, mine in grouped(rows, "net"):
        worst = min(row["qat"] - row["ptq"] for row in mine)
        parts.append(
            f"{net_named(net).title}: {mine[0]['test_images']:,} test images, {len({row['seed'] for row in mine})} seed(s), "
            f"mean and standard deviation. A trained file is at worst {worst:+.4f} from calibration alone."
        )
        lines = []
        for (share, images, epochs), found in grouped(mine, "share", "images", "epochs"):
            cells = [mean_and_deviation([row[name] for row in found]) for name in ("float", "ptq", "qat")]
            ratio = np.median([row["epoch_seconds"] / row["fit_seconds"] for row in found])
            kept = f"{sum(row['kept'].startswith('of epoch') for row in found)} of {len(found)}"
            lines.append([f"{100 * share:.0f} %", images, epochs, *cells, f"{ratio:.1f}", kept])
        parts.append(
            table(
                [
                    "MACs",
                    "images",
                    "epochs",
                    "float model",
                    "`int8_ptq`",
                    "`int8_qat`",
                    "epoch / `fit`",
                    "trained weights kept",
                ],
                lines,
            )
        )
    return parts


@benchmark(
    "qat",
    cells={"net": ("resnet20",), "share": (1.0, 0.7, 0.5, 0.3), "images": (2048,), "epochs": (1,), "seed": (0, 1, 2)},
    goal=Goal(f"at most {TOLERANCE} below calibration alone", lambda row: row["qat"] >= row["ptq"] - TOLERANCE),
    page=page,
)
def qat(net: str, share: float, images: int, epochs: int, seed: int) -> Row:
    """Quantization-aware training against calibration alone.

    Both files are made of the same model, pruned in one shot and repaired by least squares (`kt.repairs.Auto(seconds=None)`),
    not fine-tuned, and run by LiteRT on the test images. *epoch / fit* is the time of one epoch of
    quantization-aware training, calibration and judging included, without the conversion, over that of
    one epoch of `fit` of the same model. *trained weights kept*: how often training beat calibration on the examples that are
    held back.
    """
    chosen = net_named(net)
    model, (x_test, y_test) = chosen.model(), chosen.test()
    x, y = chosen.train(images, seed)
    if share < 1:
        recipe = kt.Recipe(repair=kt.repairs.Auto(seconds=None))
        model = kt.prune(model, x, y, target=kt.Target(macs=share), recipe=recipe, seed=seed, verbose=0).model
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    begin = time.perf_counter()
    ptq = kt.quantize(model, kt.Int8PTQ(x, seed=seed), verbose=0)
    calibrated = time.perf_counter()
    trained = kt.quantize(model, kt.Int8QAT((x, y), epochs=epochs, seed=seed, loss=loss), verbose=0)
    end = time.perf_counter()
    row = {
        "float": accuracy(model, x_test, y_test),
        "ptq": _accuracy(ptq, x_test, y_test),
        "qat": _accuracy(trained, x_test, y_test),
        "kept": trained.weights,
        "epoch_seconds": (end - calibrated - (calibrated - begin)) / epochs,
        "test_images": len(x_test),
    }
    model.compile("adam", loss)
    model.fit(x[:64], y[:64], verbose=0)
    begin = time.perf_counter()
    model.fit(x, y, verbose=0)
    return row | {"fit_seconds": time.perf_counter() - begin}


def _accuracy(file: Any, x: Any, y: Any) -> float:
    return float((np.argmax(file.lite()([x])[0], -1) == np.ravel(y)).mean())
