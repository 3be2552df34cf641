"""`kt.oracle` against one full forward pass for each channel."""

from __future__ import annotations

from typing import Any

import numpy as np

import keras_taylor as kt
from benchmarks.runner import Goal, Row, benchmark, interleaved, net_named, table
from keras_taylor.studies._masked import Masked

WANTED = 5.0
GOAL = Goal(f"at least {WANTED:.0f} times, same result", lambda row: row["ratio"] >= WANTED and row["same"])


def page(rows: list[Row]) -> list[str]:
    """One line for each net."""
    header = ["network", "channels", "images", "runs", "one full pass per channel (s)", "kt.oracle (s)", "ratio", "range"]
    lines = [
        [
            net_named(row["net"]).title,
            row["channels"],
            row["images"],
            row["repetitions"],
            f"{row['full_seconds']:.1f}",
            f"{row['oracle_seconds']:.1f}",
            f"{row['ratio']:.1f}",
            f"{row['least']:.1f} to {row['most']:.1f}",
            f"{row['difference']:.0e}",
            GOAL.met(row),
        ]
        for row in rows
    ]
    return [table([*header, "largest difference", GOAL.text], lines)]


@benchmark(
    "oracle",
    cells={
        "net": ("vgg16", "resnet20", "mobilenet_noise"),
        "images": (256,),
        "batch": (128,),
        "sample": (16,),
        "repetitions": (3,),
    },
    goal=GOAL,
    page=page,
)
def oracle(net: str, images: int, batch: int, sample: int, repetitions: int) -> Row:
    """The oracle.

    `kt.oracle`, its compilation included, against full passes that are compiled once and take the mask as an argument. All of
    them cost the same, so those of 16 random channels are timed and scaled up to all channels that may go. Both in turns in one
    process, on the same images in batches of 128; medians of the runs. Both must find the same changes of the loss.
    """
    chosen, rng = net_named(net), np.random.default_rng(0)
    model = chosen.model()
    x, y = chosen.train(images)
    graph = kt.trace(model)
    free = np.flatnonzero(graph.locks == "")
    channels = rng.choice(free, min(sample, len(free)), replace=False)
    masked, found = Masked(graph), {}

    def loss(*silenced: int) -> float:
        keep = np.ones(graph.channels, bool)
        keep[list(silenced)] = False
        return masked.evaluate(x, y, keep, batch)[0]

    def slow() -> None:
        plain = loss()
        found["slow"] = [loss(channel) - plain for channel in channels]

    def fast() -> None:
        found["fast"] = kt.oracle(model, (x, y), batch_size=batch, verbose=0).values[channels]

    interleaved(1, slow)
    seconds = interleaved(repetitions, slow, fast)
    full: Any = seconds[0] * len(free) / (len(channels) + 1)
    ratios = full / seconds[1]
    off, largest = np.abs(found["fast"] - found["slow"]).max(), np.abs(found["fast"]).max()
    return {
        "channels": len(free),
        "full_seconds": np.median(full),
        "oracle_seconds": np.median(seconds[1]),
        "ratio": np.median(ratios),
        "least": ratios.min(),
        "most": ratios.max(),
        "difference": off,
        "same": bool(off <= 1e-5 + 1e-3 * largest),
    }
