"""`.tflite` files in LiteRT, dense and pruned, timed in turn in one run."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from typing import Any

import keras
import numpy as np

import keras_taylor as kt
from benchmarks.runner import Goal, Row, benchmark, table
from keras_taylor._measure.latency_table import look_up
from keras_taylor._measure.segments import Segment, cut

AIMS = {"float32": 1.8, "int8_ptq": 1.5}
SIDES = ("dense", "pruned")
RANDOM = kt.Recipe(criterion="random", rank="score")


def noise(size: int) -> Any:
    """Images to take the ranges of activations from; the weights are noise, too."""
    return np.random.default_rng(0).normal(size=(4, size, size, 3)).astype("float32")


def pruned_to_half(model: Any) -> Any:
    """Half the MACs, in steps of 8 channels; every layer loses about the same share, for random weights name no other."""
    recipe = replace(RANDOM, constraints=kt.Constraints(round_to=8))
    return kt.prune(model, target=kt.Target(macs=0.5), recipe=recipe, verbose=0).model


def ratio(model: Any, quantizer: Any, rounds: int) -> Row:
    """Latency of the dense and the pruned file, in turn."""
    half = pruned_to_half(model)
    first, second = kt.litert.compare_latency([kt.quantize(one, quantizer).content for one in (model, half)], rounds=rounds)
    macs = [kt.trace(one).macs for one in (model, half)]
    return {"dense": vars(first), "pruned": vars(second), "ratio": first.median_ms / second.median_ms, "macs": macs}


def half_the_time(model: Any, quantizer: Any, rounds: int) -> Row:
    """Prune to half the latency, and time the final file anew."""
    result = kt.prune(model, target=kt.Target(latency=0.5, quantizer=quantizer), recipe=RANDOM, verbose=0)
    files = [kt.quantize(one, quantizer).content for one in (model, result.model)]
    dense, final = kt.litert.compare_latency(files, rounds=rounds)
    return {
        "latency_kept": final.median_ms / dense.median_ms,
        "fastest_kept": final.fastest_ms / dense.fastest_ms,
        "macs_kept": kt.trace(result.model).macs / kt.trace(model).macs,
        "round_to": result.report.settings.get("round_to"),
        "searched": result.report.settings["latency"],
    }


def account(model: Any, quantizer: Any, rounds: int) -> Row:
    """Milliseconds and MACs by kind of layer, of the dense and of the pruned net."""
    return {side: by_kind(one, quantizer) for side, one in zip(SIDES, (model, pruned_to_half(model)), strict=True)}


PARTS = {"ratio": ratio, "account": account, "half_the_time": half_the_time}


def by_kind(model: Any, quantizer: Any) -> dict[str, tuple[float, float]]:
    """Milliseconds and MACs by kind of layer, each part of the net timed alone."""
    graph = kt.trace(model)
    terms = look_up(graph, quantizer, shares=((1, 1),)).terms(graph)
    milliseconds, macs = defaultdict[str, float](float), graph.cost.by_layer()[0]
    for name, nanoseconds in zip(terms.layers, terms.each(graph.cost.full), strict=True):
        milliseconds[name] += nanoseconds / 1e6
    found: dict[str, tuple[float, float]] = {}
    for segment in cut(graph):
        time, count = found.get(kind_of(segment), (0.0, 0.0))
        counted = sum(macs.get(step.call.name, 0.0) for step in segment.steps)
        found[kind_of(segment)] = (time + milliseconds[segment.name], count + counted)
    return found


def kind_of(segment: Segment) -> str:
    """What a part of the net is called in the account."""
    layer = segment.steps[0].call.operation
    if isinstance(layer, keras.layers.DepthwiseConv2D):
        return "depthwise convolutions"
    if isinstance(layer, keras.layers.Conv2D):
        inputs = segment.steps[0].call.inputs[0].shape[-1]
        return "first convolution" if inputs == 3 else f"{layer.kernel_size[0]} x {layer.kernel_size[1]} convolutions"
    return "dense layers" if isinstance(layer, keras.layers.Dense) else "sums, pooling, padding and the rest"


def met(row: Row) -> bool:
    """Whether a row reaches the aim of its precision; those of other parts, or without an aim, do."""
    return row["part"] != "ratio" or row["ratio"] >= AIMS.get(row["precision"], 0.0)


def page(rows: list[Row]) -> list[str]:
    """The ratios, the nets at half the time, and where the time goes."""
    of = {part: [row for row in rows if row["part"] == part] for part in PARTS}
    parts = []
    if of["ratio"]:
        header = ["model", "pixels", "precision", "MACs kept", "dense ms", "pruned ms", "dense / pruned", "of fastest runs"]
        parts.append(table([*header, "aim", "reached"], map(_ratio, of["ratio"])))
    if of["half_the_time"]:
        header = ["model", "pixels", "precision", "share of the dense latency", "of fastest runs", "within 5 %", "MACs kept"]
        parts += [
            "## Half the time",
            "`kt.prune(model, target=kt.Target(latency=0.5, quantizer=...))`; the final file timed anew beside the dense one. "
            "`round_to` was chosen by measurement.",
            table([*header, "round_to"], map(_budget, of["half_the_time"])),
        ]
    if of["account"]:
        parts += [
            "## Where the time goes",
            "Each part of the net timed alone, at the widths that it has in the dense and in the pruned net.",
        ]
    for row in of["account"]:
        header = ["part", "M MACs", "MACs dense / pruned", "dense ms", "pruned ms", "dense / pruned"]
        parts += [f"### {row['model']}, {row['size']} pixels, {row['precision']}", table(header, _account(row))]
    return parts


def _ratio(row: Row) -> list[Any]:
    times = [f"{row[side]['median_ms']:.3g} ({row[side]['q1_ms']:.3g} to {row[side]['q3_ms']:.3g})" for side in SIDES]
    aim, fastest = AIMS.get(row["precision"]), [row[side]["fastest_ms"] for side in SIDES]
    cells = [f"{row['macs'][1] / row['macs'][0]:.3f}", *times, f"{row['ratio']:.2f}", f"{fastest[0] / fastest[1]:.2f}"]
    return [row["model"], row["size"], row["precision"], *cells, aim, None if aim is None else met(row)]


def _budget(row: Row) -> list[Any]:
    kept = row["latency_kept"]
    cells = [f"{kept:.3f}", f"{row['fastest_kept']:.3f}", abs(kept - 0.5) <= 0.025, f"{row['macs_kept']:.3f}"]
    return [row["model"], row["size"], row["precision"], *cells, row["round_to"]]


def _account(row: Row) -> list[list[Any]]:
    dense, pruned = (row[side] for side in SIDES)
    lines: list[list[Any]] = []
    for kind, (time, macs) in dense.items():
        less, fewer = pruned.get(kind, (0.0, 0.0))
        rate = f"{macs / fewer:.2f}" if fewer else ""
        lines.append([kind, f"{macs / 1e6:,.0f}", rate, f"{time:.3f}", f"{less:.3f}", f"{time / less:.2f}" if less else ""])
    sums = [sum(time for time, _ in one.values()) for one in (dense, pruned)]
    return [*lines, ["sum", "", "", f"{sums[0]:.3f}", f"{sums[1]:.3f}", f"{sums[0] / sums[1]:.2f}"]]


@benchmark(
    "latency",
    cells={
        "part": tuple(PARTS),
        "model": ("ResNet50", "MobileNet"),
        "precision": ("float32", "int8_ptq"),
        "size": (224,),
        "rounds": (20,),
    },
    goal=Goal("dense / pruned of the table's aim", met),
    page=page,
)
def latency(part: str, model: str, precision: str, size: int, rounds: int) -> Row:
    """Latency of pruned files.

    Random weights, random scores in plain order (every layer loses about the same share), `kt.Target(macs=0.5)`, `round_to=8`;
    LiteRT, one example, one thread; medians (quartiles) of runs in turn. The ideal ratio is 2.
    """
    dense = getattr(keras.applications, model)(weights=None, input_shape=(size, size, 3))
    return PARTS[part](dense, kt.Int8PTQ(noise(size)) if precision == "int8_ptq" else precision, rounds)
