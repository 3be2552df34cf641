"""What pruning is worth in milliseconds: `.tflite` files in LiteRT, dense and pruned, timed in turn in one run.

At half the MACs the ideal ratio is 2. An account by kind of layer says where it falls short: the same parts of both nets, each
timed alone. The last table asks for half the time instead: `kt.Target(latency=0.5)`, checked on the final file.

    python benchmarks/latency.py
    python benchmarks/latency.py --models MobileNet --size 64 --rounds 4   # a small trial
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Annotated, Any

import keras
import numpy as np
import typer
from _common import RESULTS, setup, store, stored, table, write

import keras_taylor as kt
from keras_taylor._measure.latency_table import look_up
from keras_taylor._measure.segments import Segment, cut

AIMS = {"float32": 1.8, "int8_ptq": 1.5}
SIDES = ("dense", "pruned")


def kind_of(segment: Segment) -> str:
    """What a part of the net is called in the account."""
    layer = segment.steps[0].call.operation
    if isinstance(layer, keras.layers.DepthwiseConv2D):
        return "depthwise convolutions"
    if isinstance(layer, keras.layers.Conv2D):
        inputs = segment.steps[0].call.inputs[0].shape[-1]
        return "first convolution" if inputs == 3 else f"{layer.kernel_size[0]} x {layer.kernel_size[1]} convolutions"
    return "dense layers" if isinstance(layer, keras.layers.Dense) else "sums, pooling, padding and the rest"


def parts(model: Any, chosen: Any) -> dict[str, tuple[float, float]]:
    """Milliseconds and MACs by kind of layer, each part of the net timed alone."""
    graph = kt.trace(model)
    terms = look_up(graph, chosen, shares=((1, 1),)).terms(graph)
    milliseconds, macs = defaultdict[str, float](float), graph.cost.by_layer()[0]
    for name, nanoseconds in zip(terms.layers, terms.each(graph.cost.full), strict=True):
        milliseconds[name] += nanoseconds / 1e6
    found: dict[str, tuple[float, float]] = {}
    for segment in cut(graph):
        time, count = found.get(kind_of(segment), (0.0, 0.0))
        counted = sum(macs.get(step.call.name, 0.0) for step in segment.steps)
        found[kind_of(segment)] = (time + milliseconds[segment.name], count + counted)
    return found


def quantizer(precision: str, size: int) -> Any:
    """The precision; the ranges of activations are taken from noise, as the weights are."""
    noise = np.random.default_rng(0).normal(size=(4, size, size, 3)).astype("float32")
    return kt.Int8PTQ(noise) if precision == "int8_ptq" else precision


def main(
    models: Annotated[str, typer.Option(help="Names in keras.applications, with commas.")] = "ResNet50,MobileNet",
    precisions: Annotated[str, typer.Option(help="Names of quantizers, with commas.")] = "float32,int8_ptq",
    size: Annotated[int, typer.Option(help="Side of the images.")] = 224,
    rounds: Annotated[int, typer.Option(help="Turns of each file, of five runs.")] = 20,
    budget: Annotated[bool, typer.Option(help="Also prune to half the latency.")] = True,
    results: Annotated[Path, typer.Option(help="JSON file that rows are added to; a .md file beside it.")] = RESULTS
    / "latency.json",
) -> None:
    """Time dense and pruned files."""
    environment = setup(0)
    record = stored(results)
    cells = [(name, precision) for name in models.split(",") for precision in precisions.split(",")]
    for part in (ratio, half_the_time, account) if budget else (ratio, account):
        for name, precision in cells:
            row = next((r for r in record["rows"] if (r["model"], r["size"], r["precision"]) == (name, size, precision)), None)
            if row is None:
                row = {"model": name, "size": size, "precision": precision}
                record["rows"].append(row)
            if part.__name__ in row:
                continue
            dense = getattr(keras.applications, name)(weights=None, input_shape=(size, size, 3))
            row[part.__name__] = part(dense, quantizer(precision, size), rounds)
            row["environment"] = environment
            store(results, record)
            print(name, precision, part.__name__, row[part.__name__], flush=True)
    report(results.with_suffix(".md"), record["rows"])


def pruned_to_half(model: Any) -> Any:
    """Half the MACs, in steps of 8 channels; every layer loses about the same share, for random weights name no other."""
    rules = kt.Constraints(round_to=8)
    return kt.prune(model, target=kt.Target(macs=0.5), criterion="random", rank="score", constraints=rules).model


def ratio(model: Any, chosen: Any, rounds: int) -> dict[str, Any]:
    """Latency of the dense and the pruned file, in turn."""
    half = pruned_to_half(model)
    first, second = kt.compare_latency([kt.quantize(one, chosen).content for one in (model, half)], rounds=rounds)
    macs = [kt.trace(one).macs for one in (model, half)]
    return {"dense": vars(first), "pruned": vars(second), "ratio": first.median_ms / second.median_ms, "macs": macs}


def account(model: Any, chosen: Any, rounds: int) -> list[dict[str, tuple[float, float]]]:
    """Milliseconds and MACs by kind of layer, of the dense and of the pruned net."""
    return [parts(one, chosen) for one in (model, pruned_to_half(model))]


def half_the_time(model: Any, chosen: Any, rounds: int) -> dict[str, Any]:
    """Prune to half the latency, and time the final file anew."""
    result = kt.prune(model, target=kt.Target(latency=0.5, quantizer=chosen), criterion="random", rank="score")
    dense, final = kt.compare_latency([kt.quantize(one, chosen).content for one in (model, result.model)], rounds=rounds)
    return {
        "share": final.median_ms / dense.median_ms,
        "fastest": final.fastest_ms / dense.fastest_ms,
        "macs": kt.trace(result.model).macs / kt.trace(model).macs,
        "round_to": result.report.settings.get("round_to"),
        "searched": result.report.settings["latency"],
    }


def report(path: Path, rows: list[dict[str, Any]]) -> None:
    """The tables."""
    ratios = []
    for row in rows:
        found = row["ratio"]
        times = [
            f"{found[which]['median_ms']:.3g} ({found[which]['q1_ms']:.3g} to {found[which]['q3_ms']:.3g})" for which in SIDES
        ]
        aim = AIMS.get(row["precision"])
        kept, fastest = found["macs"][1] / found["macs"][0], [found[which]["fastest_ms"] for which in SIDES]
        cells = [f"{kept:.3f}", *times, f"{found['ratio']:.2f}", f"{fastest[0] / fastest[1]:.2f}", aim or ""]
        ratios.append([row["model"], row["size"], row["precision"], *cells, _met(found["ratio"], aim)])
    columns = [
        "model",
        "pixels",
        "precision",
        "MACs kept",
        "dense ms",
        "pruned ms",
        "dense / pruned",
        "of fastest runs",
        "aim",
        "reached",
    ]
    parts = [
        "# Latency of pruned files",
        "Random weights, random scores in plain order (every layer loses about the same share), `kt.Target(macs=0.5)`, "
        "`round_to=8`; LiteRT, one example, one thread; medians "
        "(quartiles) of runs in turn. The ideal ratio is 2.",
        table(columns, ratios),
    ]
    budgets = [
        [
            row["model"],
            row["size"],
            row["precision"],
            f"{b['share']:.3f}",
            f"{b['fastest']:.3f}",
            "yes" if abs(b["share"] - 0.5) <= 0.025 else "no",
            f"{b['macs']:.3f}",
            b["round_to"],
        ]
        for row in rows
        if (b := row.get("half_the_time"))
    ]
    if budgets:
        parts += [
            "## Half the time",
            "`kt.prune(model, target=kt.Target(latency=0.5, quantizer=...))`; the final file timed anew beside the dense one. "
            "`round_to` was chosen by measurement.",
            table(
                [
                    "model",
                    "pixels",
                    "precision",
                    "share of the dense latency",
                    "of fastest runs",
                    "within 5 %",
                    "MACs kept",
                    "round_to",
                ],
                budgets,
            ),
        ]
    parts += [
        "## Where the time goes",
        "Each part of the net timed alone, at the widths that it has in the dense and in the pruned net.",
    ]
    for row in rows:
        if "account" not in row:
            continue
        dense, pruned = row["account"]
        lines = []
        for kind, (time, macs) in dense.items():
            less, fewer = pruned.get(kind, (0.0, 0.0))
            rate = f"{macs / fewer:.2f}" if fewer else ""
            lines.append([kind, f"{macs / 1e6:,.0f}", rate, f"{time:.3f}", f"{less:.3f}", f"{time / less:.2f}" if less else ""])
        sums = [sum(time for time, _ in one.values()) for one in (dense, pruned)]
        lines.append(["sum", "", "", f"{sums[0]:.3f}", f"{sums[1]:.3f}", f"{sums[0] / sums[1]:.2f}"])
        parts += [
            f"### {row['model']}, {row['size']} pixels, {row['precision']}",
            table(["part", "M MACs", "MACs dense / pruned", "dense ms", "pruned ms", "dense / pruned"], lines),
        ]
    write(path, *parts, f"Made by `python benchmarks/latency.py`. {rows[-1]['environment']}.")


def _met(ratio: float, aim: float | None) -> str:
    return "" if aim is None else "yes" if ratio >= aim else "no"


if __name__ == "__main__":
    typer.run(main)
