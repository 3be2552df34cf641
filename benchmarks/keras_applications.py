"""All builders of `keras.applications`, pruned to half their MACs and proven equal to the masked originals.

Random weights with nothing left at zero, random scores, `Target(macs=0.5)`: rebuilt, saved, reloaded, and compared with the
original whose removed channels are silenced. The same comparison with every mask shifted by one channel must fail, so that
the test is known to be able to. Writes docs/compatibility.md; the exit code is 1 if a model fails.

    python benchmarks/keras_applications.py
    python benchmarks/keras_applications.py --only ResNet50
"""

from __future__ import annotations

import gc
import inspect
import resource
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import keras
import numpy as np
import typer
from _common import DOCS, setup, table, write

import keras_taylor as kt
from keras_taylor._plan.pruning_plan import to_mask
from keras_taylor._rebuild.verify import example_inputs, relative_error, run, silenced

BUILDERS: dict[str, Callable[..., Any]] = dict(inspect.getmembers(keras.applications, inspect.isfunction))
TOLERANCE = 1e-4
WRONG = 1e-3
SIGNAL = 1e-3


@dataclass
class Row:
    """What one builder showed."""

    name: str
    macs: tuple[int, int] = (0, 0)
    params: tuple[int, int] = (0, 0)
    channels: int = 0
    groups: int = 0
    locked: float = float("nan")
    locked_hidden: float = float("nan")
    signal: float = float("nan")
    error: float = float("nan")
    shifted: float = float("nan")
    surgery: float = float("nan")
    seconds: float = float("nan")
    failure: str = ""

    def check(self) -> None:
        """Say in `failure` what is not as it must be."""
        problems = [
            (not self.macs[1] <= self.macs[0] / 2, f"{self.macs[1]:,} MACs are above the target"),
            (not self.signal > SIGNAL, f"the output hardly depends on the input ({self.signal:.0e}): the check is blind"),
            (not self.error <= TOLERANCE, f"rebuilt and masked differ by {self.error:.1e}"),
            (not self.shifted > WRONG, f"a mask shifted by one passes ({self.shifted:.1e})"),
        ]
        self.failure = "; ".join(text for wrong, text in problems if wrong)

    def cells(self) -> list[str]:
        """The row of the table."""
        if not self.macs[0]:
            return [self.name, *[""] * 10, self.failure]
        return [
            self.name,
            f"{self.macs[0] / 1e6:,.1f} → {self.macs[1] / 1e6:,.1f}",
            f"{self.params[0] / 1e6:,.2f} → {self.params[1] / 1e6:,.2f}",
            f"{self.channels:,}",
            str(self.groups),
            f"{100 * self.locked:.1f} %",
            f"{100 * self.locked_hidden:.1f} %",
            f"{self.error:.1e}",
            f"{self.shifted:.2f}",
            f"{self.surgery:.1f}",
            f"{self.seconds:.0f}",
            self.failure or "ok",
        ]


HEADER = [
    "builder",
    "MACs (M)",
    "params (M)",
    "channels",
    "layer groups",
    "locked",
    "locked, hidden",
    "error",
    "shifted",
    "surgery (s)",
    "all (s)",
    "verdict",
]


def build(name: str) -> Any:
    """The model with random weights, for small images, putting out logits."""
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


def examine(name: str, seed: int) -> Row:
    """Prune one builder's model, and compare."""
    row, start = Row(name), time.perf_counter()
    model = build(name)
    enliven(model, seed)
    begin = time.perf_counter()
    graph = kt.trace(model)
    scores = kt.Scores(graph, np.random.default_rng(seed).random(graph.channels))
    plan = kt.plan(scores, kt.Target(macs=0.5))
    small = kt.rebuild(model, plan)
    row.surgery = time.perf_counter() - begin
    with tempfile.TemporaryDirectory() as folder:
        small.save(Path(folder) / "small.keras")
        del small
        loaded = keras.models.load_model(Path(folder) / "small.keras", compile=False)
    size = kt.trace(loaded)
    row.macs, row.params = (graph.macs, size.macs), (graph.params, size.params)
    hidden = [group for group in graph.groups if group.reason != "model output"]
    row.groups, row.channels = len(graph.groups), sum(len(group.channels) for group in graph.groups)
    row.locked = sum(group.locked for group in graph.groups) / row.channels
    row.locked_hidden = sum(g.locked for g in hidden) / sum(len(g.channels) for g in hidden)
    inputs = example_inputs(graph.program, seed + 1)
    output = run(model, inputs)[0]
    row.signal = float(np.abs(output[0] - output[1]).max() / np.abs(output).max())
    row.error = kt.verify(model, plan, loaded, inputs).max_relative_error
    wrong = graph.keep_labels(kt.testing.shifted(graph, to_mask(graph, plan)))
    row.shifted = relative_error(silenced(graph, wrong, inputs), run(loaded, inputs))
    row.seconds = time.perf_counter() - start
    row.check()
    return row


def main(
    only: Annotated[str, typer.Option(help="One builder; the document is not written then.")] = "",
    seed: int = 0,
    output: Annotated[Path, typer.Option(help="Markdown file for the table.")] = DOCS / "compatibility.md",
) -> None:
    """Check every builder of keras.applications."""
    environment = setup(seed)
    if only and only not in BUILDERS:
        raise typer.BadParameter(f"--only must be one of {', '.join(BUILDERS)}.")
    rows = []
    for name in [only] if only else BUILDERS:
        try:
            row = examine(name, seed)
        except Exception as error:
            row = Row(name, failure=f"{type(error).__name__}: {' '.join(str(error).split())[:300]}")
        rows.append(row)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        print(" | ".join(row.cells()), f"| signal {row.signal:.2g}, peak {peak:.1f} GB", flush=True)
        keras.utils.clear_session()
        gc.collect()
    good = sum(not row.failure for row in rows)
    worst, least = max(row.error for row in rows), min(row.shifted for row in rows)
    verdict = (
        f"**{good} of {len(rows)}** builders: rebuilt, saved and reloaded equals masked (largest relative error {worst:.1e}, "
        f"allowed {TOLERANCE:.0e}); with the mask shifted by one the error is at least {least:.2g} (must exceed {WRONG:.0e})."
    )
    print(verdict)
    if not only:
        write(
            output,
            "# Compatibility: keras.applications",
            verdict,
            "Random weights, random scores, `kt.Target(macs=0.5)`, 64 x 64 pixels (75 x 75 for Inception and Xception), 1,000 "
            "classes, float32. 1 MAC = 1. A channel is a class of tied filters or units; *locked* is the share that may not be "
            "removed, *locked, hidden* without the 1,000 outputs. *error* compares the reloaded pruned model with the masked "
            "original, relative to the largest output; *shifted* is the same with a wrong mask. *surgery* is trace + plan + "
            "rebuild, *all* includes building, saving, loading and comparing.",
            table(HEADER, [row.cells() for row in rows]),
            f"Made by `python benchmarks/keras_applications.py`. {environment}.",
            "The same networks, quantized to 8 bits after and during training: [compatibility_8bit.md](compatibility_8bit.md).",
        )
    raise typer.Exit(int(good < len(rows)))


if __name__ == "__main__":
    typer.run(main)
