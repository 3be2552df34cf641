"""Pruning against precision against both: accuracy over bit operations of the .tflite files themselves."""

from __future__ import annotations

from dataclasses import asdict, fields
from pathlib import Path

import keras

import keras_taylor as kt
from benchmarks.runner import Picture, Row, benchmark, grouped, net_named
from keras_taylor._sweep.rows import SweepRow
from keras_taylor._sweep.table import SweepTable

RUNS = Path("runs") / "precision"
NUMBERS = [entry.name for entry in fields(SweepRow) if entry.name not in ("path", "device")]
"""The environment of a row names the device."""


def page(rows: list[Row]) -> list[str | Picture]:
    """One section for each net."""
    parts: list[str | Picture] = []
    for net, mine in grouped(rows, "net"):
        made = SweepTable(
            tuple(SweepRow(path="", **{name: row[name] for name in NUMBERS}) for row in mine if "accuracy" in row)
        )
        seeds, one = {row["seed"] for row in mine}, mine[0]
        repeated = f"means and standard deviations over {len(seeds)} seeds" if len(seeds) > 1 else "one seed"
        parts += [
            f"## {net}",
            f"{net_named(net).title}: {made.rows[0].examples:,} test images; {repeated}. Each target was pruned, repaired "
            f"(`{one['repair']}`) and fine-tuned for {one['epochs']} epochs (SGD, momentum 0.9, learning rate "
            f"{one['rate']:g}); the unpruned network (1) too; int8_qat trains {one['qat_epochs']} epochs "
            "longer than the other rows.",
            Picture(f"precision_{net}.png", "Accuracy against BOPs", made.figure),
            made.answer(),
            made.render("markdown"),
            *(f"No row: {row['quantizer']} at {row['target']:g}: {row['skipped']}." for row in mine if "skipped" in row),
        ]
    return parts


@benchmark(
    "precision",
    cells={
        "net": ("resnet20",),
        "target": (1.0, 0.7, 0.5, 0.3),
        "order": ("prune_quantize",),
        "quantizer": ("float32", "float16", "dynamic", "int8_ptq", "int8_qat"),
        "seed": (0, 1, 2),
        "epochs": (3,),
        "rate": (1e-3,),
        "qat_epochs": (2,),
        "qat_rate": (3e-5,),
        "batch": (128,),
        "repair": ("lstsq",),
    },
    page=page,
)
def precision(
    net: str,
    target: float,
    order: str,
    quantizer: str,
    seed: int,
    epochs: int,
    rate: float,
    qat_epochs: int,
    qat_rate: float,
    batch: int,
    repair: str,
) -> Row:
    """Pruning, precision, and both.

    Every row is a .tflite file, run by LiteRT on the test images. `float` is the accuracy of the Keras model that a file was
    made from; `*` marks the rows that no other one beats in BOPs and accuracy. Trained models are kept in runs/precision, where
    rows that differ in the quantizer alone find them.
    """
    chosen = net_named(net)
    model = chosen.model()
    model.compile(keras.optimizers.SGD(rate, momentum=0.9, nesterov=True), model.loss, metrics=["accuracy"])
    x, y = chosen.raw("train")
    qat = kt.Int8QAT(epochs=qat_epochs, learning_rate=qat_rate, batch_size=batch)
    common = "-".join(map(str, (net, epochs, rate, qat_epochs, qat_rate, batch, repair)))
    table = kt.sweep(
        model,
        (chosen.scaled(x), y),
        validation_data=chosen.test(),
        run_dir=RUNS / common,
        targets=[target],
        quantizers=[qat if quantizer == qat.name else quantizer],
        orders=[order],
        seeds=[seed],
        epochs=epochs,
        recipe=kt.Recipe(repair=None if repair == "none" else repair),
        batch_size=batch,
    )
    if not table.rows:
        return {"skipped": "; ".join(table.skipped.values())}
    cell = ("target", "seed", "order", "quantizer")
    return {name: value for name, value in asdict(table.rows[0]).items() if name in NUMBERS and name not in cell}
