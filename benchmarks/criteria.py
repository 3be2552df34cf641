"""Scoring by sets of criteria against one epoch of training over the same images."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

import keras_taylor as kt
from benchmarks.runner import Goal, Row, benchmark, grouped, interleaved, net_named, quartiles, table
from keras_taylor.criteria import criterion_for
from keras_taylor.studies._cost import scorer

FIRST_ORDER = [
    *("activation", "activation_std", "apoz", "mutual_information", "taylor", "taylor_gate", "taylor_2019", "empirical_fisher"),
    *("blend", "random", "magnitude", "l1", "l2", "fpgm", "lamp"),
    *(kt.criteria.Taylor(**one) for one in ({"aggregate": "nvlabs"}, {"aggregate": "jacobgil"}, {"tied": "absolute"})),
]
SETS: dict[str, list[Any]] = {
    "first order": FIRST_ORDER,
    "taylor_gate": ["taylor_gate"],
    "Fisher": [*FIRST_ORDER, "obd", "taylor2"],
    "obd_exact": ["obd_exact"],
    "taylor_logits": ["taylor_logits"],
    "obd_hutchinson": ["obd_hutchinson"],
}
WORDS = {
    "first order": f"all {len(FIRST_ORDER)} first-order criteria together",
    "taylor_gate": "taylor_gate alone",
    "Fisher": "the same and Fisher information (obd, taylor2)",
    "obd_exact": "exact Gauss-Newton",
    "taylor_logits": "taylor_logits",
    "obd_hutchinson": "Hutchinson, one draw",
}


def allowed(row: Row) -> float | None:
    """Epochs of training that a set may take; those with one backward pass per class take their number."""
    of_classes = (row["classes"] + 1) / 2
    return {"first order": 0.65, "taylor_gate": 0.65, "Fisher": 1.3, "obd_exact": of_classes, "taylor_logits": of_classes}.get(
        row["scored_with"]
    )


def met(row: Row) -> bool:
    """Whether a set stays within that."""
    limit = allowed(row)
    return limit is None or row["ratio"] <= limit


def page(rows: list[Row]) -> list[str]:
    """One table for each net."""
    parts = []
    for net, mine in grouped(rows, "net"):
        epoch = np.median([row["epoch_seconds"] for row in mine])
        parts.append(
            f"{net_named(net).title}: {mine[0]['images']:,} images in batches of {mine[0]['batch']}; an epoch takes "
            f"{epoch:.2f} s; {mine[0]['classes']} classes; medians of {mine[0]['repetitions']} repetitions."
        )
        lines = [
            [
                WORDS[row["scored_with"]],
                f"{row['seconds']:.2f}",
                f"{row['ratio']:.2f}",
                f"{row['low']:.2f} to {row['high']:.2f}",
                "" if allowed(row) is None else f"{allowed(row):.2f}: {'met' if met(row) else 'NOT MET'}",
            ]
            for row in mine
        ]
        parts.append(table(["scored with", "seconds", "epochs of training", "quartiles", "at most"], lines))
    return parts


@benchmark(
    "criteria",
    cells={"net": ("resnet20",), "scored_with": tuple(SETS), "images": (1024,), "batch": (64,), "repetitions": (5,)},
    goal=Goal("at most the epochs of training that the table allows", met),
    page=page,
)
def criteria(net: str, scored_with: str, images: int, batch: int, repetitions: int) -> Row:
    """What criteria cost.

    Scoring against one epoch of training (`fit` with SGD) over the same images in the same batches, in turns in one process,
    both after their tracing; the median of the ratios of each pair.
    """
    chosen = net_named(net)
    model = chosen.model()
    x, y = chosen.train(images)
    data = tf.data.Dataset.from_tensor_slices((x, y)).batch(batch)
    score = scorer(model, [criterion_for(one) for one in SETS[scored_with]], x, y, batch)

    def train() -> None:
        model.fit(data, verbose=0)

    interleaved(1, train, score)
    epoch, seconds = interleaved(repetitions, train, score)
    row = {"seconds": np.median(seconds), "epoch_seconds": np.median(epoch), "classes": int(model.output_shape[-1])}
    return row | quartiles(seconds / epoch)
