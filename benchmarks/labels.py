"""Can channels be scored without labels? Rank correlation of label-free scores with the labelled score and with the oracle.

The oracle is the absolute change of the loss, on labelled images, when one channel is silenced. Scores: labels given; labels
sampled from the model's predictions, once or four times per image; and the divergence of the outputs from what they are, to
first order, along random directions (which needs no probabilities).

    python benchmarks/labels.py --weights resnet20.keras --data cifar10_lossless.npz
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import keras
import numpy as np
import typer
from _common import RESULTS, images, loss_for, normalise, setup, table, write
from scipy import stats

import keras_taylor as kt


def main(
    weights: Annotated[Path, typer.Option(help="A .keras file with a trained classifier that puts out logits.")],
    data: Annotated[Path, typer.Option(help="An .npz file with x_train, y_train, x_test, y_test.")],
    name: Annotated[str, typer.Option(help="What the results call the network and the images.")] = "",
    count: Annotated[int, typer.Option(help="Training images to score on.")] = 2048,
    judged: Annotated[int, typer.Option(help="Other training images for the oracle.")] = 1024,
    seeds: int = 3,
    output: Annotated[Path, typer.Option(help="Markdown file for the table.")] = RESULTS / "labels.md",
) -> None:
    """Spearman correlation over all channels that may go."""
    environment, arrays = setup(0), images(data)
    model = keras.models.load_model(weights, compile=False)
    bare = keras.models.load_model(weights, compile=False)  # not compiled: its outputs are numbers, not logits
    x, y = normalise(arrays["x_train"]), arrays["y_train"]
    model.compile(loss=loss_for(model, x))
    graph = kt.trace(model)
    free = graph.locks == ""
    found: dict[str, list[tuple[float, float]]] = {}
    for seed in range(seeds):
        order = np.random.default_rng(seed).permutation(len(x))
        few, others = order[:count], order[count : count + judged]
        truth = kt.oracle(model, x[others], np.ravel(y[others]), verbose=0).absolute().values
        options = {"batch_size": 128, "seed": seed, "verbose": 0}
        given = kt.score(model, (x[few], y[few]), **options).values
        scores = {
            "labels given": given,
            "labels sampled once": kt.score(model, x[few], labels="sampled", draws=1, **options).values,
            "labels sampled 4 times (default)": kt.score(model, x[few], labels="sampled", **options).values,
            "divergence of the outputs": kt.score(bare, x[few], labels="sampled", draws=1, **options).values,
        }
        for kind, values in scores.items():
            pair = tuple(float(stats.spearmanr(values[free], one[free]).statistic) for one in (truth, given))
            found.setdefault(kind, []).append(pair)  # type: ignore[arg-type]
            print(seed, kind, pair, flush=True)
    lines = []
    for kind, pairs in found.items():
        mean, spread = np.mean(pairs, axis=0), np.std(pairs, axis=0, ddof=1)
        lines.append([kind, *(f"{m:.3f} ± {s:.3f}" for m, s in zip(mean, spread, strict=True))])
    write(
        output,
        "# Scores without labels",
        f"{name or f'{weights.stem}, {data.stem}'}: Spearman correlation over all {int(free.sum())} channels that may go, mean "
        f"and standard deviation over {seeds} choices of {count:,} images to score on; the oracle (absolute change of the loss "
        f"when a channel is silenced) on {judged:,} other training images. Criterion `taylor_gate`.",
        table(["scored with", "with the oracle", "with the labelled score"], lines),
        f"Made by `python benchmarks/labels.py --weights {weights.name} --data {data.name}`. {environment}.",
    )


if __name__ == "__main__":
    typer.run(main)
