"""All builders of `keras.applications`, pruned to half their MACs and quantized to 8 bits in two ways.

Random weights, random scores, `Target(macs=0.5)`; then int8 after training (`Int8PTQ`, 8 random images to calibrate on) and
quantization-aware training (`Int8QAT`, two steps). Each file is run by LiteRT. Writes docs/compatibility_8bit.md and a JSON
file beside it, from which an interrupted run goes on.

    python benchmarks/quantize_applications.py
    python benchmarks/quantize_applications.py --only ResNet50
"""

from __future__ import annotations

import gc
import time
from pathlib import Path
from typing import Annotated, Any

import keras
import numpy as np
import typer
from _common import DOCS, setup, store, stored, table, write
from keras_applications import BUILDERS, build, enliven

import keras_taylor as kt

HEADER = ["builder", "PTQ", "KB", "error", "in float", "QAT", "KB", "error", "in float", "s"]


def examine(name: str, seed: int) -> dict[str, Any]:
    """Prune one builder's model, and quantize it in both ways."""
    row: dict[str, Any] = {"name": name}
    start = time.perf_counter()
    model = build(name)
    enliven(model, seed)
    graph = kt.trace(model)
    scores = kt.Scores(graph, np.random.default_rng(seed).random(graph.channels))
    small = kt.rebuild(model, kt.plan(scores, kt.Target(macs=0.5)))
    small.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(8, *model.input_shape[1:])).astype("float32")
    x = 127.5 + 50 * x if any(isinstance(layer, keras.layers.Rescaling) for layer in model.layers) else x
    y = rng.integers(0, 1000, 8)
    quantizers = {"PTQ": kt.Int8PTQ(x), "QAT": kt.Int8QAT((x, y), epochs=1, batch_size=4, learning_rate=1e-6)}
    for kind, quantizer in quantizers.items():
        try:
            made = kt.quantize(small, quantizer)
            found = {"verdict": "ok", "KB": len(made.content) / 1024, "error": made.max_relative_error}
            row[kind] = found | {"float": made.float_operations}
        except Exception as error:
            row[kind] = {"verdict": f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"}
    row["seconds"] = time.perf_counter() - start
    return row


def cells(row: dict[str, Any]) -> list[str]:
    """The row of the table."""
    parts = [row["name"]]
    for kind in ("PTQ", "QAT"):
        found = row[kind]
        if found["verdict"] != "ok":
            parts += [found["verdict"], "", "", ""]
            continue
        in_float = ", ".join(f"{count} {name}" for name, count in found["float"].items()) or "nothing"
        parts += ["ok", f"{found['KB']:,.0f}", f"{found['error']:.2f}", in_float]
    return [*parts, f"{row['seconds']:.0f}"]


def main(
    only: Annotated[str, typer.Option(help="One builder; nothing is written then.")] = "",
    seed: int = 0,
    report: Annotated[bool, typer.Option(help="Only write the document, from the rows there are.")] = False,
    results: Annotated[Path, typer.Option(help="JSON file; a .md file is written beside it.")] = DOCS
    / "compatibility_8bit.json",
) -> None:
    """Quantize every builder of keras.applications."""
    environment = setup(seed)
    if only and only not in BUILDERS:
        raise typer.BadParameter(f"--only must be one of {', '.join(BUILDERS)}.")
    rows = [] if only else stored(results)["rows"]
    # The largest ones last.
    for name in [only] if only else sorted(BUILDERS, key=lambda name: name.startswith("ConvNeXt")):
        if report or any(row["name"] == name for row in rows):
            continue
        rows.append(examine(name, seed))
        print(" | ".join(cells(rows[-1])), flush=True)
        if not only:
            store(results, {"rows": rows})
        keras.utils.clear_session()
        gc.collect()
    ptq, qat = (sum(row[kind]["verdict"] == "ok" for row in rows) for kind in ("PTQ", "QAT"))
    verdict = f"int8 after training: **{ptq} of {len(rows)}**; quantization-aware training: **{qat} of {len(rows)}**."
    print(verdict)
    if only:
        return
    missing = [name for name in BUILDERS if name not in {row["name"] for row in rows}]
    rows.sort(key=lambda row: list(BUILDERS).index(row["name"]))
    write(
        results.with_suffix(".md"),
        "# Compatibility in 8 bits: keras.applications",
        verdict,
        "Random weights, random scores, `kt.Target(macs=0.5)`, 64 x 64 pixels (75 x 75 for Inception and Xception), 1,000 "
        "classes. *PTQ* is `kt.Int8PTQ` with 8 random images, *QAT* is `kt.Int8QAT` with two training steps. *error* compares "
        "the file, run by LiteRT, with the Keras model on these images, relative to the largest output: random weights and "
        "random images, so it says that the file runs, not how exact a trained net would be. *in float* is what the file "
        "computes in float32.",
        table(HEADER, [cells(row) for row in rows]),
        *([f"Not run: {', '.join(missing)}."] if missing else []),
        f"Made by `python benchmarks/quantize_applications.py`. {environment}.",
    )


if __name__ == "__main__":
    typer.run(main)
