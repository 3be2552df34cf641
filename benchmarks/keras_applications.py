"""All builders of `keras.applications`, pruned to half their MACs and compared with the masked originals."""

from __future__ import annotations

import inspect
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np

import keras_taylor as kt
from benchmarks.runner import Goal, Row, benchmark, table
from keras_taylor._keras.example_inputs import example_inputs
from keras_taylor._plan.pruning_plan import to_mask
from keras_taylor._rebuild.verify import relative_error, run, silenced

BUILDERS: dict[str, Callable[..., Any]] = dict(inspect.getmembers(keras.applications, inspect.isfunction))
TOLERANCE = 1e-4
WRONG = 1e-3
SIGNAL = 1e-3


def build(name: str) -> Any:
    """The model with random weights, for small images, with logits as its outputs."""
    size = 75 if name.startswith("Inception") or name == "Xception" else 64
    options = {"weights": None, "input_shape": (size, size, 3)}
    if "classifier_activation" in inspect.signature(BUILDERS[name]).parameters:
        options["classifier_activation"] = None
    return BUILDERS[name](**options)


def enliven(model: Any, seed: int) -> None:
    """Random weights, none of them zero, with which a deep net still lets its input through to the output.

    Kernels get the variance 2 / fan-in, and BatchNorm the statistics of random images (scaled at random, so that they are
    not exact): otherwise what an early layer computes drowns in later biases, and a mistake there could not be seen.
    """
    kt.testing.randomize(model, seed)
    rng = np.random.default_rng(seed)
    for weight in model.weights:
        name, shape = weight.path.rsplit("/", 1)[-1], tuple(weight.shape)
        if len(shape) > 1 and "kernel" in name:
            depthwise = "depthwise" in weight.path and "pointwise" not in name
            fan_in = np.prod(shape[:-2] if depthwise else shape[:-1])
            value = np.sqrt(2 / max(fan_in, 1)) * rng.standard_normal(shape, dtype="float32")
            weight.assign(value)
    norms = [layer for layer in model._flatten_layers() if isinstance(layer, keras.layers.BatchNormalization)]
    if not norms:
        return
    momenta = [layer.momentum for layer in norms]
    for layer in norms:
        layer.momentum = 0.0
    model(rng.normal(size=(8, *model.input_shape[1:])).astype("float32"), training=True)
    for layer, momentum in zip(norms, momenta, strict=True):
        layer.momentum = momentum
        variance = layer.moving_variance.numpy()
        layer.moving_variance.assign((variance + 1e-3) * rng.uniform(0.7, 1.4, variance.shape))


def measure(builder: str, seed: int) -> Row:
    """Prune one builder's model, and compare."""
    model = build(builder)
    enliven(model, seed)
    begin = time.perf_counter()
    graph = kt.trace(model)
    scores = kt.Scores(graph, np.random.default_rng(seed).random(graph.channels))
    plan = kt.plan(scores, kt.Target(macs=0.5))
    small = kt.rebuild(model, plan)
    row: Row = {"surgery_seconds": time.perf_counter() - begin}
    with tempfile.TemporaryDirectory() as folder:
        small.save(Path(folder) / "small.keras")
        del small
        loaded = keras.models.load_model(Path(folder) / "small.keras", compile=False)
    size = kt.trace(loaded)
    row |= {"macs": [graph.macs, size.macs], "params": [graph.params, size.params]}
    hidden = [group for group in graph.groups if group.reason != "model output"]
    row["channels"] = sum(len(group.channels) for group in graph.groups)
    row["groups"] = len(graph.groups)
    row["locked"] = sum(group.locked for group in graph.groups) / row["channels"]
    row["locked_hidden"] = sum(g.locked for g in hidden) / sum(len(g.channels) for g in hidden)
    inputs = example_inputs(graph.program, seed + 1)
    output = run(model, inputs)[0]
    row["signal"] = np.abs(output[0] - output[1]).max() / np.abs(output).max()
    row["error"] = kt.verify(model, plan, loaded, inputs).max_relative_error
    wrong = graph.keep_labels(kt.testing.shifted(graph, to_mask(graph, plan)))
    row["shifted"] = relative_error(silenced(graph, wrong, inputs), run(loaded, inputs))
    return row


def failure(row: Row) -> str:
    """What is not as it must be."""
    problems = [
        (not row["macs"][1] <= row["macs"][0] / 2, f"{row['macs'][1]:,} MACs are above the target"),
        (not row["signal"] > SIGNAL, f"the output hardly depends on the input ({row['signal']:.0e}): the check is blind"),
        (not row["error"] <= TOLERANCE, f"rebuilt and masked differ by {row['error']:.1e}"),
        (not row["shifted"] > WRONG, f"a mask shifted by one passes ({row['shifted']:.1e})"),
    ]
    return "; ".join(text for wrong, text in problems if wrong)


def page(rows: list[Row]) -> list[str]:
    """What holds for all builders, and one line for each."""
    whole = [row for row in rows if "macs" in row]
    good, worst, least = (
        sum(not row["failure"] for row in rows),
        max(r["error"] for r in whole),
        min(r["shifted"] for r in whole),
    )
    header = ["builder", "MACs (M)", "params (M)", "channels", "layer groups", "locked", "locked, hidden", "error", "shifted"]
    return [
        f"**{good} of {len(rows)}** builders: rebuilt, saved and reloaded equals masked (largest relative error {worst:.1e}, "
        f"allowed {TOLERANCE:.0e}); with the mask shifted by one the error is at least {least:.2g} (must exceed {WRONG:.0e}).",
        table([*header, "surgery (s)", "all (s)", "verdict"], map(cells, rows)),
        "The same networks, quantized to 8 bits: [quantize_applications.md](quantize_applications.md).",
    ]


def cells(row: Row) -> list[Any]:
    """The line of one builder."""
    if "macs" not in row:
        return [row["builder"], *[""] * 10, row["failure"]]
    (macs, fewer), (params, less) = row["macs"], row["params"]
    return [
        row["builder"],
        f"{macs / 1e6:,.1f} → {fewer / 1e6:,.1f}",
        f"{params / 1e6:,.2f} → {less / 1e6:,.2f}",
        row["channels"],
        row["groups"],
        f"{100 * row['locked']:.1f} %",
        f"{100 * row['locked_hidden']:.1f} %",
        f"{row['error']:.1e}",
        f"{row['shifted']:.2f}",
        f"{row['surgery_seconds']:.1f}",
        f"{row['seconds']:.0f}",
        row["failure"] or "ok",
    ]


@benchmark(
    "keras_applications",
    cells={"builder": tuple(BUILDERS), "seed": (0,)},
    goal=Goal("rebuilt equals masked", lambda row: not row["failure"]),
    page=page,
)
def keras_applications(builder: str, seed: int) -> Row:
    """Compatibility: keras.applications.

    Random weights with nothing left at zero, random scores, `kt.Target(macs=0.5)`, 64 x 64 pixels (75 x 75 for Inception and
    Xception), 1,000 classes, float32. 1 MAC = 1. A channel is a class of tied filters or units; *locked* is the share that may
    not be removed, *locked, hidden* without the 1,000 outputs. *error* compares the reloaded pruned model with the masked
    original, relative to the largest output; *shifted* is the same with a wrong mask, so that the check is known to be able to
    fail. *surgery* is trace + plan + rebuild, *all* includes building, saving, loading and comparing.
    """
    start = time.perf_counter()
    try:
        row = measure(builder, seed)
        row["failure"] = failure(row)
    except Exception as error:
        row = {"failure": f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"}
    return row | {"seconds": time.perf_counter() - start}
