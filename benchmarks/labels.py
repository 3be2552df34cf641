"""Scores without labels beside scores with labels, and beside the oracle."""

from __future__ import annotations

import functools
from typing import Any

from scipy import stats

import keras_taylor as kt
from benchmarks.runner import Row, benchmark, grouped, mean_and_deviation, net_named, table

# Name -> the options of kt.score; labels are given where there are no options.
KINDS: dict[str, dict[str, Any]] = {
    "labels given": {},
    "labels sampled once": {"labels": "sampled", "draws": 1},
    "labels sampled 4 times (default)": {"labels": "sampled"},
    "divergence of the outputs": {"labels": "sampled", "draws": 1},
}
BATCH = 128


@functools.lru_cache(1)
def judges(net: str, seed: int, images: int, judged: int) -> tuple[Any, Any, Any]:
    """The channels that may go, the absolute oracle on other images, and the labelled scores."""
    chosen = net_named(net)
    model = chosen.model()
    graph = kt.trace(model)
    truth = kt.oracle(model, chosen.train(judged, seed, skip=images), batch_size=BATCH, verbose=0).absolute().values
    return graph.locks == "", truth, scores(net, "labels given", seed, images)


def scores(net: str, kind: str, seed: int, images: int) -> Any:
    """The scores of this kind, shape `(channels,)`."""
    chosen = net_named(net)
    model = chosen.model(compiled=kind != "divergence of the outputs")  # without a loss its outputs are numbers, not logits
    x, y = chosen.train(images, seed)
    data = (x, y) if kind == "labels given" else x
    return kt.score(model, data, batch_size=BATCH, seed=seed, verbose=0, **KINDS[kind]).values


def page(rows: list[Row]) -> list[str]:
    """One table for each net."""
    parts = []
    for net, mine in grouped(rows, "net"):
        seeds = {row["seed"] for row in mine}
        parts.append(
            f"{net_named(net).title}: Spearman correlation over all {mine[0]['channels']} channels that may go, mean and "
            f"standard deviation over {len(seeds)} choices of {mine[0]['images']:,} images to score on; the oracle (absolute "
            f"change of the loss when a channel is silenced) on {mine[0]['judged']:,} other training images."
        )
        lines = [
            [kind, *(mean_and_deviation([row[name] for row in mine if row["scored_with"] == kind]) for name in COLUMNS)]
            for kind in KINDS
        ]
        parts.append(table(["scored with", *COLUMNS.values()], lines))
    return parts


COLUMNS = {"with_oracle": "with the oracle", "with_labelled": "with the labelled score"}


@benchmark(
    "labels",
    cells={"net": ("resnet20",), "seed": (0, 1, 2), "scored_with": tuple(KINDS), "images": (2048,), "judged": (1024,)},
    page=page,
)
def labels(net: str, seed: int, scored_with: str, images: int, judged: int) -> Row:
    """Scores without labels.

    Can channels be scored without labels? Scores by `taylor_gate`: with the labels given; with labels sampled from the model's
    predictions, once or four times for each image; and from the divergence of the outputs from what they are, to first order,
    along random directions, which needs no probabilities.
    """
    free, truth, labelled = judges(net, seed, images, judged)
    values = scores(net, scored_with, seed, images)
    found = {
        name: stats.spearmanr(values[free], one[free]).statistic for name, one in zip(COLUMNS, (truth, labelled), strict=True)
    }
    return found | {"channels": int(free.sum())}
