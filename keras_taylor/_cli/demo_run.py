"""What `keras-taylor demo` does: train, prune, fine-tune, verify, export, time."""

from __future__ import annotations

import platform
import tempfile
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import keras
import numpy as np
from rich.console import Console
from rich.table import Table

from keras_taylor._cli.sources.digits import digits
from keras_taylor._keras.process import quiet
from keras_taylor._plan.target import Target
from keras_taylor._quantize.export import export_tflite
from keras_taylor._rebuild.rebuild import rebuild
from keras_taylor._rebuild.verify import verify
from keras_taylor._run.fit import fit_with_pruning
from keras_taylor._run.recipe import Recipe
from keras_taylor._trace.graph import trace
from keras_taylor.litert import LiteModel, compare_latency


def digits_cnn(size: int = 16) -> Any:
    """A small residual CNN with 10 logits for images of shape `(size, size, 1)`, compiled."""
    layers, norm = keras.layers, partial(keras.layers.BatchNormalization, momentum=0.9)
    inputs = keras.Input((size, size, 1))
    x = layers.Conv2D(32, 3, padding="same", use_bias=False, name="stem")(inputs)
    x = layers.ReLU()(norm()(x))
    y = layers.Conv2D(32, 3, padding="same", use_bias=False, name="block_conv1")(x)
    y = layers.ReLU()(norm()(y))
    y = layers.Conv2D(32, 3, padding="same", use_bias=False, name="block_conv2")(y)
    x = layers.ReLU()(norm()(y) + x)
    x = layers.MaxPooling2D()(x)
    x = layers.Conv2D(64, 3, padding="same", use_bias=False, name="head_conv")(x)
    x = layers.GlobalAveragePooling2D()(layers.ReLU()(norm()(x)))
    model = keras.Model(inputs, layers.Dense(10, name="logits")(x), name="digits_cnn")
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(2e-3), loss, metrics=["accuracy"])
    return model


@dataclass(frozen=True)
class _Row:
    name: str
    accuracy: float
    macs: int
    params: int
    bytes: int
    milliseconds: float


def run(folder: Path | None = None, epochs: int = 10, target: float = 0.5, seed: int = 0) -> int:
    """Run the demo; the exit code is 0 when everything that it checks holds.

    Args:
        folder: where `dense.tflite`, `pruned.tflite` and `pruned.keras` go; a new temporary folder by default.
        epochs: of training, and again of pruning and fine-tuning.
        target: fraction of the MACs to keep.
        seed: for weights, data order and scoring.
    """
    console = Console()
    keras.utils.set_random_seed(seed)
    folder = Path(tempfile.mkdtemp(prefix="keras-taylor-")) if folder is None else folder
    folder.mkdir(parents=True, exist_ok=True)
    train, test = digits(seed=seed)
    model = digits_cnn()
    console.rule("1. train a small CNN on handwritten digits")
    model.fit(*train, epochs=epochs, batch_size=64, validation_data=test, verbose=2)
    console.rule(f"2. prune it to {target:.0%} of the MACs while fine-tuning")
    print(trace(model))
    result = fit_with_pruning(
        model,
        *train,
        target=Target(macs=target),
        epochs=epochs,
        recipe=Recipe(keep_best=False),  # these data say how good the result is
        validation_data=test,
        batch_size=64,
        seed=seed,
        verbose=2,
    )
    print(result.report)
    console.rule("3. verify, export, time")
    check = verify(model, result.plan, rebuild(model, result.plan))
    print(f"rebuilt against masked original: {check}")
    result.model.save(folder / "pruned.keras")
    with quiet():
        files = [export_tflite(m, folder / f"{name}.tflite") for m, name in ((model, "dense"), (result.model, "pruned"))]
    lite = [LiteModel(file) for file in files]
    correct = [np.mean(one([test[0]])[0].argmax(-1) == test[1]) for one in lite]
    times = [latency.median_ms for latency in compare_latency(files, rounds=20, runs=10)]
    rows = [
        _Row(name, float(accuracy), trace(m).macs, m.count_params(), file.size, ms)
        for name, accuracy, m, file, ms in zip(("dense", "pruned"), correct, (model, result.model), files, times, strict=True)
    ]
    console.print(_table(rows, seed))
    print(f"files: {folder}")
    return 0 if check.ok and rows[1].macs <= target * rows[0].macs else 1


def _table(rows: list[_Row], seed: int) -> Table:
    versions = ", ".join(f"{name} {version(name)}" for name in ("keras", "tensorflow", "ai-edge-litert"))
    caption = f"1 MAC = 1; the .tflite files in LiteRT, batch 1, 1 thread, {platform.machine()} CPU; seed {seed}; {versions}"
    table = Table(title="Digits, float32 .tflite files", caption=caption)
    for column in ("model", "test accuracy", "MACs", "params", "bytes", "ms per image"):
        table.add_column(column, justify="left" if column == "model" else "right")
    for row in rows:
        sizes = (f"{row.macs:,}", f"{row.params:,}", f"{row.bytes:,}")
        table.add_row(row.name, f"{row.accuracy:.4f}", *sizes, f"{row.milliseconds:.3f}")
    before, after = rows
    ratios = [getattr(after, name) / getattr(before, name) for name in ("macs", "params", "bytes", "milliseconds")]
    table.add_row("pruned / dense", f"{after.accuracy - before.accuracy:+.4f}", *(f"{r:.3f}" for r in ratios))
    return table
