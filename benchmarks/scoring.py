"""What scoring costs: one scoring step against one training step of the same model and batch.

The scoring step is what `kt.score` does for every batch: forward in inference, and backward to activations only. The training
step is the compiled `train_step` of `fit` with SGD. Both are timed in turns in one process, after their tracing; the ratio of
each pair is taken, and the median of the ratios reported (target: at most 0.60). The peak memory of each is measured in a
process of its own, as growth over the process that holds the model and the batch (target: scoring not above training).

    python benchmarks/scoring.py
"""

from __future__ import annotations

import gc
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import keras
import numpy as np
import tensorflow as tf
import typer
from _common import RESULTS, forget_peak, interleaved, setup, status, table, write

import keras_taylor as kt
from keras_taylor._keras.losses import objectives
from keras_taylor._record.recorder import Recorder

MODELS = ("ResNet50", "MobileNetV2")
ALLOWED = 0.60


def steps(name: str, size: int, batch: int) -> tuple[Callable[[], Any], Callable[[], Any], Callable[[], Any]]:
    """The scoring step, the training step, and a forward pass for comparison, not yet traced."""
    model = getattr(keras.applications, name)(weights=None, input_shape=(size, size, 3), classifier_activation=None)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(1e-6), loss)
    rng = np.random.default_rng(0)
    x = tf.constant(rng.normal(size=(batch, size, size, 3)), tf.float32)
    y = tf.constant(rng.integers(0, 1000, batch))
    record = Recorder(kt.trace(model), frozenset({"contribution"}), objectives(model))
    forward = tf.function(lambda images: model(images, training=False))

    def score() -> Any:
        return record(x, y, None)

    def train() -> Any:
        return model.train_on_batch(x, y)

    def infer() -> Any:
        return forward(x).numpy()

    return score, train, infer


def grow(kind: str, name: str, size: int, batch: int) -> float:
    """MB by which three steps raise the peak of this process."""
    score, train, _ = steps(name, size, batch)
    step = {"score": score, "train": train}[kind]
    gc.collect()
    forget_peak()
    before = status("VmRSS")
    for _ in range(3):
        step()
    return status("VmHWM") - before


def peak(kind: str, name: str, size: int, batch: int) -> float:
    """`grow` in a process of its own."""
    command = [sys.executable, __file__, "--child", f"{kind},{name}", "--size", str(size), "--batch", str(batch)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(json.loads(done.stdout.splitlines()[-1]))


def main(
    repetitions: int = 15,
    size: Annotated[int, typer.Option(help="Pixels per side.")] = 224,
    batch: int = 16,
    memory: Annotated[bool, typer.Option(help="Measure the peak memory, too.")] = True,
    only: Annotated[str, typer.Option(help="One model; the document is not written then.")] = "",
    child: Annotated[str, typer.Option(hidden=True)] = "",
    output: Annotated[Path, typer.Option(help="Markdown file for the table.")] = RESULTS / "scoring.md",
) -> None:
    """Time and weigh scoring against training."""
    if child:
        kind, name = child.split(",")
        print(json.dumps(grow(kind, name, size, batch)))
        return
    environment = setup(0)
    rows, good = [], True
    for name in [only] if only else MODELS:
        contenders = steps(name, size, batch)
        interleaved(2, *contenders)
        seconds = np.array(interleaved(repetitions, *contenders))
        low, ratio, high = np.percentile(seconds[0] / seconds[1], [25, 50, 75])
        medians = np.median(seconds, axis=1)
        del contenders
        keras.utils.clear_session()
        gc.collect()
        peaks = [peak(kind, name, size, batch) for kind in ("score", "train")] if memory else [float("nan")] * 2
        met = ratio <= ALLOWED and not peaks[0] > peaks[1]
        good &= met
        rows.append(
            [
                name,
                *(f"{1000 * s:.0f}" for s in medians),
                f"{ratio:.2f}",
                f"{low:.2f} to {high:.2f}",
                *(f"{p:.0f}" for p in peaks),
                "yes" if met else "NO",
            ]
        )
        print(" | ".join(rows[-1]), flush=True)
    header = [
        "model",
        "scoring step (ms)",
        "training step (ms)",
        "forward alone (ms)",
        "ratio",
        "quartiles",
        "scoring peak (MB)",
        "training peak (MB)",
        f"at most {ALLOWED:.2f}, no more memory",
    ]
    if not only:
        write(
            output,
            "# Scoring",
            f"One scoring step against one training step (SGD): {size} x {size} pixels, batch {batch}, float32. Medians of "
            f"{repetitions} repetitions in turns, and the median of the ratios. Peaks are the growth over a process that holds "
            "the model and the batch.",
            table(header, rows),
            f"Made by `python benchmarks/scoring.py`. {environment}.",
        )
    raise typer.Exit(int(not good))


if __name__ == "__main__":
    typer.run(main)
