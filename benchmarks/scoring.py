"""One scoring step against one training step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

import keras_taylor as kt
from benchmarks.runner import Goal, Row, benchmark, fresh, interleaved, memory_rise, quartiles, table
from keras_taylor._keras.losses import objectives
from keras_taylor._record.recorder import Recorder

ALLOWED = 0.60
GOAL = Goal(
    f"at most {ALLOWED:.2f}, no more memory", lambda row: row["ratio"] <= ALLOWED and row["score_mb"] <= row["train_mb"]
)


def steps(model: str, size: int, batch: int) -> dict[str, Callable[[], Any]]:
    """The scoring step, the training step, and a forward pass for comparison, not yet traced."""
    net = getattr(keras.applications, model)(weights=None, input_shape=(size, size, 3), classifier_activation=None)
    net.compile(keras.optimizers.SGD(1e-6), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    rng = np.random.default_rng(0)
    x = tf.constant(rng.normal(size=(batch, size, size, 3)), tf.float32)
    y = tf.constant(rng.integers(0, 1000, batch))
    record = Recorder(kt.trace(net), frozenset({"contribution"}), objectives(net))
    forward = tf.function(lambda images: net(images, training=False))
    return {
        "score": lambda: record(x, y, None),
        "train": lambda: net.train_on_batch(x, y),
        "forward": lambda: forward(x).numpy(),
    }


def peak(kind: str, model: str, size: int, batch: int) -> float:
    """MB by which three steps raise the memory of this process."""
    step = steps(model, size, batch)[kind]
    return memory_rise(lambda: [step() for _ in range(3)])


def page(rows: list[Row]) -> list[str]:
    """One line for each model."""
    header = ["model", "scoring step (ms)", "training step (ms)", "forward alone (ms)", "ratio", "quartiles"]
    lines = [
        [
            row["model"],
            *(f"{row[f'{kind}_ms']:.0f}" for kind in ("score", "train", "forward")),
            f"{row['ratio']:.2f}",
            f"{row['low']:.2f} to {row['high']:.2f}",
            f"{row['score_mb']:.0f}",
            f"{row['train_mb']:.0f}",
            GOAL.met(row),
        ]
        for row in rows
    ]
    return [
        f"{rows[0]['size']} x {rows[0]['size']} pixels, batch {rows[0]['batch']}, float32.",
        table([*header, "scoring peak (MB)", "training peak (MB)", GOAL.text], lines),
    ]


@benchmark(
    "scoring",
    cells={"model": ("ResNet50", "MobileNetV2"), "size": (224,), "batch": (16,), "repetitions": (15,)},
    goal=GOAL,
    page=page,
)
def scoring(model: str, size: int, batch: int, repetitions: int) -> Row:
    """What scoring costs.

    One scoring step (what `kt.score` does for every batch: forward in inference, and backward to activations only) against one
    training step (the compiled `train_step` of `fit` with SGD). Medians of repetitions in turns, after tracing, and the median
    of the ratios. Peaks are measured in a process for each: the growth over what it uses with the model and the batch.
    """
    contenders = steps(model, size, batch)
    interleaved(2, *contenders.values())
    seconds = interleaved(repetitions, *contenders.values())
    row = {f"{kind}_ms": float(1000 * np.median(found)) for kind, found in zip(contenders, seconds, strict=True)}
    row |= quartiles(seconds[0] / seconds[1])
    del contenders
    return row | {f"{kind}_mb": fresh(peak, kind, model, size, batch) for kind in ("score", "train")}
