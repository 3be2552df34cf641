"""How well does each criterion rank channels? Spearman's correlation with the oracle, the paper's Table 1."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from keras_taylor._keras.batches import joined
from keras_taylor._output.deprecations import renamed
from keras_taylor.criteria import Criterion, criterion_for, registered
from keras_taylor.criteria.blend import Blend
from keras_taylor.criteria.obd import OBD
from keras_taylor.criteria.taylor import Taylor
from keras_taylor.criteria.taylor2 import Taylor2
from keras_taylor.criteria.taylor_logits import TaylorLogits
from keras_taylor.errors import BadInput
from keras_taylor.studies._correlation_shown import ABSOLUTE, GATE, KINDS
from keras_taylor.studies._lab import Lab
from keras_taylor.studies._statistics import bootstrap, spearman
from keras_taylor.studies._study import Study

# As they are before any normalisation: the study normalises.
CRITERIA: dict[str, Criterion] = {
    "random": criterion_for("random"),
    **{
        name: registered()[name](normalize=None)  # type: ignore[call-arg]
        for name in ("magnitude", "l1", "l2", "fpgm", "bn_scale", "activation", "activation_std", "apoz", "mutual_information")
    },
    "lamp": criterion_for("lamp"),
    "taylor (Eq. 8)": Taylor(normalize=None),
    "taylor, aggregate=nvlabs": Taylor(aggregate="nvlabs"),
    "taylor, aggregate=jacobgil": Taylor(normalize=None, aggregate="jacobgil"),
    "taylor_gate (without 1/M)": Taylor("sum", None),
    "taylor_gate, tied=absolute": Taylor("sum", None, tied="absolute"),
    "taylor_2019": criterion_for("taylor_2019"),
    "taylor_residual": criterion_for("taylor_residual"),
    "taylor2 (Fisher)": Taylor2(),
    "taylor2 (Fisher), absolute=mean": Taylor2(absolute="mean"),
    "taylor2 (Gauss-Newton)": Taylor2("gauss_newton"),
    "taylor2 (Gauss-Newton), absolute=mean": Taylor2("gauss_newton", "mean"),
    "taylor_logits": TaylorLogits(),
    "taylor_logits, absolute=mean": TaylorLogits("mean"),
    "obd (Fisher)": OBD(),
    "obd (Gauss-Newton)": OBD("gauss_newton"),
    "obd (Hutchinson)": OBD("hutchinson"),
    "empirical_fisher": OBD("empirical_fisher"),
    "blend, weight=1": Blend(1.0),
}


@renamed(data="x")
def correlation(
    model: Any,
    x: Any,
    y: Any = None,
    *,
    run_dir: str | Path,
    criteria: Mapping[str, str | Criterion] | None = None,
    examples: int = 1024,
    seeds: Sequence[int] = (0, 1, 2),
    batch_size: int = 64,
    verbose: str | int = "auto",
) -> Study:
    """Rank correlation of every criterion with the oracle, on the same examples and on others, and how reliable it is.

    For each seed a sample of the training data is drawn; on it every criterion scores all channels in one pass, and the oracle
    silences every channel. Reported are means over the seeds with 95 % intervals (Student's t): Spearman within each layer
    group of more than two channels, averaged (per layer), over all channels of the net, and the same after dividing every
    group by its l2 norm; the best of the last two against the oracles of the other seeds, most of whose examples are others;
    and the split-half reliability: Spearman, per layer, between scores from one half of the sample and from the other.

    Args:
        model: a compiled classifier, or the `ChannelGraph` of one.
        x: training images as `fit` takes them: an array of shape `(n, height, width, colours)` beside `y`, a tuple `(x, y)`, or
            a data set that yields both.
        y: their labels, shape `(n,)` or one-hot `(n, classes)`, where `x` is an array.
        run_dir: a folder for studies of this model and these data. What is there is not measured again.
        criteria: by label, or their names; by default all of this package, not normalised.
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
        >>> study = kt.studies.correlation(model, (x, y), run_dir=tempfile.mkdtemp(), examples=32, seeds=(0, 1), verbose=0)
        >>> study.name
        'correlation'

    References:
        Molchanov et al. 2017, section 3.1, Table 1 and Eq. 10.
    """
    if criteria is not None and not isinstance(criteria, Mapping):
        raise BadInput(f"criteria must be a dict of criteria by label. Received: {criteria!r}. Write {{'l1': 'l1'}}.")
    chosen = {label: criterion_for(one) for label, one in (CRITERIA if criteria is None else criteria).items()}
    if not chosen:
        raise BadInput("criteria must name at least one criterion. Received: none.")
    lab = Lab(model, joined(x, y), run_dir, examples=examples, seeds=seeds, batch_size=batch_size, verbose=verbose)
    seeds = lab.seeds
    scores = {seed: lab.scores(chosen, seed) for seed in seeds}
    fed = {label: one for label, one in chosen.items() if one.needs_data}
    halves = {seed: [lab.scores(fed, seed, half) for half in (0, 1)] for seed in seeds}
    truth = {seed: np.abs(lab.oracle(seed)) for seed in seeds}
    labels = [label for label in chosen if all(label in scores[seed] for seed in seeds)]
    if not labels:
        raise BadInput(f"criteria must have something to look at in the model. Received: {', '.join(chosen)}, which have not.")
    values = {label: _values(lab, label, scores, halves, truth) for label in labels}
    ceiling = {
        kind: [_of(lab, kind)(truth[a], truth[b]) for a in seeds for b in seeds if a != b]
        for kind in ("per layer", "all layers")
    }
    found: dict[str, Any] = {"correlations": values, "oracle with oracles of other examples": ceiling}
    if {GATE, ABSOLUTE} <= set(labels) and len(lab.ranks.tied) > 2:
        found["tied"] = _tied(lab, scores, truth)
    skipped = [label for label in chosen if label not in labels]
    settings = {**lab.settings, "seeds": seeds, "channels": len(lab.ranks.free), "tied channels": len(lab.ranks.tied)}
    settings["layer groups"] = len(lab.ranks.layers)
    if skipped:
        settings["left out, nothing to look at"] = ", ".join(skipped)
    return Study("correlation", settings, found)


def _of(lab: Lab, kind: str) -> Any:
    return {"per layer": lab.ranks.per_layer, "all layers": lab.ranks.raw, "all layers, l2": lab.ranks.l2}[kind]


def _values(lab: Lab, label: str, scores: Any, halves: Any, truth: Any) -> dict[str, list[float]]:
    """The correlations of one criterion: a number for each seed, and for each pair of seeds on other examples."""
    seeds = list(scores)
    made: dict[str, list[float]] = {
        kind: [_of(lab, kind)(scores[seed][label], truth[seed]) for seed in seeds] for kind in KINDS
    }
    best = max(KINDS[1:], key=lambda kind: float(np.mean(made[kind])))
    made["other examples"] = [_of(lab, best)(scores[a][label], truth[b]) for a in seeds for b in seeds if a != b]
    made["split-half"] = [
        lab.ranks.per_layer(*(half[label] for half in halves[seed])) for seed in seeds if label in halves[seed][0]
    ]
    return made


def _tied(lab: Lab, scores: Any, truth: Any) -> dict[str, Any]:
    """Signed and absolute sums of members, over tied channels and over all, with intervals over the channels."""
    made: dict[str, Any] = {}
    for where, channels in (("tied channels", lab.ranks.tied), ("all channels", lab.ranks.free)):

        def difference(rows: Any, channels: Any = channels) -> float:
            few = channels[rows]
            pairs = [
                spearman(found[GATE][few], truth[seed][few]) - spearman(found[ABSOLUTE][few], truth[seed][few])
                for seed, found in scores.items()
            ]
            return float(np.mean(pairs))

        made[where] = {
            label: [spearman(found[label][channels], truth[seed][channels]) for seed, found in scores.items()]
            for label in (GATE, ABSOLUTE)
        }
        made[where]["difference"] = difference(np.arange(len(channels)))
        made[where]["interval"] = bootstrap(difference, len(channels))
    return made
