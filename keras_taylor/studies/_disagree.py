"""Which disagreements of Taylor with activation pruning matter? Quadrants of activation and gradient, and Shapley values."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from keras_taylor._keras.batches import joined
from keras_taylor._output.deprecations import renamed
from keras_taylor.errors import BadInput
from keras_taylor.studies._disagree_shown import RANKS
from keras_taylor.studies._lab import Lab, check_shares
from keras_taylor.studies._quadrants import QUADRANTS, Sample, count_of, layers_of
from keras_taylor.studies._shapley import COALITIONS, attributed, label, mean_of_shares
from keras_taylor.studies._statistics import Array, spearman
from keras_taylor.studies._study import Study


@renamed(data="x")
def disagree(
    model: Any,
    x: Any,
    y: Any = None,
    *,
    validation_data: Any,
    run_dir: str | Path,
    shares: Sequence[float] = (0.05, 0.1, 0.2),
    examples: int = 1024,
    seeds: Sequence[int] = (0, 1, 2),
    batch_size: int = 64,
    verbose: str | int = "auto",
) -> Study:
    """Where Taylor (Eq. 8) and mean activation disagree about channels, who is right, and which disagreements make the gap.

    For each seed a sample of the training data is drawn; on it all channels are scored, and silenced one at a time by the
    oracle. Each layer group falls into quadrants by the medians of activation (a) and of the size of the gradient (g). Every
    layer group then loses the same share of its free channels, by rank of activation or of Taylor. For the gap between the
    two, Taylor's ranks replace those of activation in one class of channels after the other, in all eight combinations of
    "high a, low g", "low a, high g" and the rest; a class gets its Shapley value. All these nets have as many channels in each
    layer, and are silenced, not fine-tuned.

    Args:
        model: a compiled classifier, or the `ChannelGraph` of one.
        x: training images as `fit` takes them: an array of shape `(n, height, width, colours)` beside `y`, a tuple `(x, y)`, or
            a data set that yields both.
        y: their labels, shape `(n,)` or one-hot `(n, classes)`, where `x` is an array.
        validation_data: labelled data on which the nets are compared.
        run_dir: a folder for studies of this model and these data. What is there is not measured again.
        shares: of the channels of each layer group that may go, how many do, each between 0 and 1.
        examples: how many examples a sample has.
        seeds: one sample is drawn for each.
        batch_size: examples that are scored at a time.
        verbose: `"auto"` or 1 says what is measured, with progress bars; 2 says it without them, 0 is silent.

    Returns:
        A `kt.studies.Study`; `.save(folder)` writes JSON, Markdown and a figure.

    Raises:
        BadInput: what cannot work, or a folder of another model or other data; before any work.
        NonFiniteScores: a statistic or the loss is not finite.

    Example:
        >>> import keras, numpy as np, tempfile, keras_taylor as kt
        >>> model = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Conv2D(8, 3, activation="relu"),
        ...                           keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(2)])
        >>> model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        >>> x, y = np.random.default_rng(0).random((64, 8, 8, 1)).astype("float32"), np.arange(64) % 2
        >>> study = kt.studies.disagree(model, (x, y), validation_data=(x, y), run_dir=tempfile.mkdtemp(), examples=32,
        ...                             seeds=(0, 1), shares=(0.2,), verbose=0)
        >>> [row[0] for row in study.tables[0].rows]
        ['high a, high g', 'high a, low g', 'low a, high g', 'low a, low g']

    References:
        Molchanov et al. 2017, section 2.2. Shapley 1953, "A value for n-person games".
    """
    shares = check_shares(shares)
    lab = Lab(model, joined(x, y), run_dir, examples=examples, seeds=seeds, batch_size=batch_size, verbose=verbose)
    seeds = lab.seeds
    held_back = lab.validation(validation_data)
    judge = lab.judge(*held_back, say=False)
    layers = layers_of(lab)
    for share in shares:
        if not any(count_of(layer, share) for layer in layers):
            widest = max(map(len, layers))
            raise BadInput(
                f"shares must remove at least one channel of a layer group. Received: {share!r}, and the widest group has "
                f"{widest} channels that may go. Pass at least {1 / widest:.2f}."
            )
    samples = {seed: Sample(lab, layers, seed) for seed in seeds}
    # Before the coalitions, which take longest.
    quadrants = {name: _of_quadrant(name, list(samples.values()), shares) for name in QUADRANTS}
    progress = lab.progress("coalitions on the validation data", len(shares) * len(seeds))
    full = judge(np.ones(lab.graph.channels, bool))
    gaps: dict[str, Any] = {}
    for share in shares:
        found: dict[str, Any] = {label(one): {"accuracy": [], "loss": []} for one in COALITIONS}
        for sample in samples.values():
            masks = {one: sample.mask(share, one) for one in COALITIONS}
            for one, mask in masks.items():
                for measure, value in judge(mask).items():
                    found[label(one)][measure].append(value)
            progress.add(1)
        macs = lab.graph.cost.totals(masks[frozenset()])["macs"] / lab.graph.macs
        gaps[f"{share:g}"] = {"MACs": macs, "coalitions": found, **attributed(found)}
    values = {"quadrants": quadrants, "shares": gaps, "mean of the shares": mean_of_shares(gaps), "unpruned": full}
    values["ranks of the first sample"] = _ranks(samples[seeds[0]])
    settings = {**lab.settings, "shares": shares, "seeds": seeds, "validation examples": len(held_back[0])}
    settings |= {"channels": sum(len(layer) for layer in layers), "layer groups": len(layers)}
    return Study("disagree", settings, values)


def _ranks(sample: Sample) -> dict[str, list[float]]:
    """Percentiles within their layers of the channels that are decided about, to four digits: the points of the figure."""
    return {name: sample.ranks[name][sample.quadrant != ""].round(4).tolist() for name in RANKS}


def _of_quadrant(name: str, samples: Sequence[Sample], shares: Sequence[float]) -> dict[str, Any]:
    """What is counted and measured in one quadrant: a number for each seed, or None where it has no such channel."""
    made: dict[str, Any] = {"channels": [int((one.quadrant == name).sum()) for one in samples]}
    apart = [[one.disagreements(share) for one in samples] for share in shares]
    made["disagreements"] = {
        f"{share:g}": [int(((a | t) & (one.quadrant == name)).sum()) for (a, t), one in zip(row, samples, strict=True)]
        for share, row in zip(shares, apart, strict=True)
    }
    made["all disagreements"] = {
        f"{share:g}": [int((a | t).sum()) for a, t in row] for share, row in zip(shares, apart, strict=True)
    }
    for side, criterion in enumerate(("activation", "Taylor")):
        made[f"oracle, {criterion} alone removes"] = [
            _mean(np.concatenate([one.oracle[row[number][side] & (one.quadrant == name)] for row in apart]))
            for number, one in enumerate(samples)
        ]
    for criterion in ("Taylor", "activation", "alignment"):
        made[f"Spearman, {criterion}"] = [
            spearman(one.ranks[criterion][one.quadrant == name], one.ranks["oracle"][one.quadrant == name])
            if (one.quadrant == name).sum() > 2
            else None
            for one in samples
        ]
    for criterion in ("Taylor", "activation"):
        made[f"regret, {criterion}"] = [
            _mean(np.abs(one.ranks[criterion] - one.ranks["oracle"])[one.quadrant == name]) for one in samples
        ]
    return made


def _mean(values: Array) -> float | None:
    return float(values.mean()) if len(values) else None
