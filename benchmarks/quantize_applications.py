"""All builders of `keras.applications`, pruned to half their MACs and quantized to 8 bits in two ways."""

from __future__ import annotations

import time
from typing import Any

import keras
import numpy as np

import keras_taylor as kt
from benchmarks.keras_applications import BUILDERS, build, enliven
from benchmarks.runner import Goal, Row, benchmark, table

KINDS = {"ptq": "int8 after training", "qat": "quantization-aware training"}


def page(rows: list[Row]) -> list[str]:
    """How many builders can be quantized, and one line for each."""
    good = "; ".join(
        f"{words}: **{sum(row[kind]['verdict'] == 'ok' for row in rows)} of {len(rows)}**" for kind, words in KINDS.items()
    )
    missing = [name for name in BUILDERS if name not in {row["builder"] for row in rows}]
    header = ["builder", "PTQ", "KB", "error", "in float", "QAT", "KB", "error", "in float", "s"]
    lines = map(cells, sorted(rows, key=lambda row: list(BUILDERS).index(row["builder"])))
    return [f"{good}.", table(header, lines), *([f"Not run: {', '.join(missing)}."] if missing else [])]


def cells(row: Row) -> list[Any]:
    """The line of one builder."""
    parts: list[Any] = [row["builder"]]
    for kind in KINDS:
        found = row[kind]
        if found["verdict"] != "ok":
            parts += [found["verdict"], "", "", ""]
            continue
        in_float = ", ".join(f"{count} {name}" for name, count in found["float"].items()) or "nothing"
        parts += ["ok", f"{found['KB']:,.0f}", f"{found['error']:.2f}", in_float]
    return [*parts, f"{row['seconds']:.0f}"]


@benchmark(
    "quantize_applications",
    # The largest ones last.
    cells={"builder": tuple(sorted(BUILDERS, key=lambda name: name.startswith("ConvNeXt"))), "seed": (0,)},
    goal=Goal("quantized in both ways", lambda row: all(row[kind]["verdict"] == "ok" for kind in KINDS)),
    page=page,
)
def quantize_applications(builder: str, seed: int) -> Row:
    """Compatibility in 8 bits: keras.applications.

    Random weights, random scores, `kt.Target(macs=0.5)`, 64 x 64 pixels (75 x 75 for Inception and Xception), 1,000 classes.
    *PTQ* is `kt.Int8PTQ` with 8 random images, *QAT* is `kt.Int8QAT` with two training steps. *error* compares the file, run by
    LiteRT, with the Keras model on these images, relative to the largest output: random weights and random images, so it says
    that the file runs, not how exact a trained net would be. *in float* is what the file computes in float32.
    """
    start = time.perf_counter()
    model = build(builder)
    enliven(model, seed)
    graph = kt.trace(model)
    scores = kt.Scores(graph, np.random.default_rng(seed).random(graph.channels))
    small = kt.rebuild(model, kt.plan(scores, kt.Target(macs=0.5)))
    small.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(8, *model.input_shape[1:])).astype("float32")
    x = 127.5 + 50 * x if any(isinstance(layer, keras.layers.Rescaling) for layer in model.layers) else x
    y = rng.integers(0, 1000, 8)
    quantizers = {"ptq": kt.Int8PTQ(x), "qat": kt.Int8QAT((x, y), epochs=1, batch_size=4, learning_rate=1e-6)}
    row: Row = {}
    for kind, quantizer in quantizers.items():
        try:
            made = kt.quantize(small, quantizer)
            found = {"verdict": "ok", "KB": len(made.content) / 1024, "error": made.max_relative_error}
            row[kind] = found | {"float": made.float_operations}
        except Exception as error:
            row[kind] = {"verdict": f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"}
    return row | {"seconds": time.perf_counter() - start}
