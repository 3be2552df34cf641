"""Optimal Brain Damage against Taylor: what second derivatives cost, and what they bring."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from keras_taylor._keras.batches import joined
from keras_taylor._output.deprecations import renamed
from keras_taylor._plan.plan import check_rank
from keras_taylor.criteria import Criterion, criterion_for
from keras_taylor.criteria.obd import OBD
from keras_taylor.criteria.taylor import Taylor
from keras_taylor.criteria.taylor2 import Taylor2
from keras_taylor.criteria.taylor_logits import TaylorLogits
from keras_taylor.errors import BadInput, whole_number
from keras_taylor.studies._cost import peaks_of, seconds
from keras_taylor.studies._lab import Lab, check_shares
from keras_taylor.studies._obd_shown import EXACT, FISHER, REFERENCE
from keras_taylor.studies._statistics import spearman
from keras_taylor.studies._study import Study, environment

CRITERIA: dict[str, Criterion] = {
    "taylor (Eq. 8, l2)": Taylor(),
    REFERENCE: criterion_for("taylor_gate"),
    EXACT: OBD("gauss_newton"),
    FISHER: OBD("fisher"),
    "obd, Hutchinson (1 draw)": OBD("hutchinson"),
    "empirical Fisher (Taylor, squared)": OBD("empirical_fisher"),
    "taylor2, exact": Taylor2("gauss_newton"),
    "taylor2, Fisher": Taylor2("fisher"),
    "taylor2, Fisher, absolute=mean": Taylor2("fisher", "mean"),
    "taylor_logits": TaylorLogits(),
    "taylor_logits, absolute=mean": TaylorLogits("mean"),
}


@renamed(data="x")
def obd(
    model: Any,
    x: Any,
    y: Any = None,
    *,
    validation_data: Any,
    run_dir: str | Path,
    shares: Sequence[float] = (0.9, 0.8, 0.7),
    rank: str = "saving",
    examples: int = 1024,
    seeds: Sequence[int] = (0, 1, 2),
    timed: int = 256,
    repetitions: int = 3,
    memory: bool = True,
    batch_size: int = 64,
    verbose: str | int = "auto",
) -> Study:
    """Second-order criteria beside Taylor: rank correlation with the oracle, accuracy after pruning, seconds and memory.

    OBD is measured as what it is (exact for piecewise linear nets by one backward pass per class), as an estimate from labels
    that the model draws (one backward pass), and by Hutchinson's method; beside them what combines both orders, and the
    empirical Fisher, which is Taylor squared and no independent comparison. Where a channel is read at several places, as in
    a residual stream, the exact Gauss-Newton diagonal is not the second derivative: such channels are also reported apart.

    Args:
        model: a compiled classifier, or the `ChannelGraph` of one.
        x: training images as `fit` takes them: an array of shape `(n, height, width, colours)` beside `y`, a tuple `(x, y)`, or
            a data set that yields both; samples of them are scored.
        y: their labels, shape `(n,)` or one-hot `(n, classes)`, where `x` is an array.
        validation_data: other data, on which the pruned nets are judged, without any fine-tuning.
        run_dir: a folder for studies of this model and these data. What is there is not measured again.
        shares: the budgets: shares of the MACs that stay, each between 0 and 1.
        rank: `"saving"` removes what costs least score per MAC saved, `"score"` what has the least score, as in `kt.plan`.
        examples: how many examples a sample has.
        seeds: one sample is drawn for each.
        timed: how many examples are scored for the clock.
        repetitions: how often, all criteria in turns.
        memory: whether peak memory is measured; each criterion takes a process of its own, which loads the model.
        batch_size: examples that are scored at a time.
        verbose: `"auto"` or 1 says what is measured, with progress bars; 2 says it without them, 0 is silent.

    Returns:
        A `kt.studies.Study`; `.save(folder)` writes JSON, Markdown and a figure.

    Raises:
        BadInput: what cannot work, or a folder of another model or other data; before any work.
        InfeasibleTarget: a share that cannot be reached.

    Example:
        >>> import keras, numpy as np, tempfile, keras_taylor as kt
        >>> model = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Conv2D(8, 3, activation="relu"),
        ...                           keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(2)])
        >>> model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        >>> data = np.random.default_rng(0).random((64, 8, 8, 1)).astype("float32"), np.arange(64) % 2
        >>> study = kt.studies.obd(model, data, validation_data=data, run_dir=tempfile.mkdtemp(), examples=32, seeds=(0, 1),
        ...                        shares=(0.5,), timed=32, repetitions=1, memory=False, verbose=0)
        >>> len(study.tables)
        2

    References:
        LeCun et al. 1990, "Optimal Brain Damage"; Molchanov et al. 2017, sections 2.2 and 3.1.
    """
    shares = check_shares(shares)
    check_rank(rank)
    timed, repetitions = whole_number("timed", timed), whole_number("repetitions", repetitions)
    lab = Lab(model, joined(x, y), run_dir, examples=examples, seeds=seeds, batch_size=batch_size, verbose=verbose)
    seeds = lab.seeds
    held_back = lab.validation(validation_data)
    if timed > len(lab.x):
        raise BadInput(f"timed must be at most the number of examples, {len(lab.x)}. Received: {timed}.")
    lab.check_reachable(shares)
    scores = {seed: lab.scores(CRITERIA, seed) for seed in seeds}
    clocked = lab.kept(
        "seconds",
        {"timed": timed, "repetitions": repetitions, "criteria": list(CRITERIA), "machine": environment()},
        lambda: seconds(lab.model, CRITERIA, lab.x[:timed], lab.y[:timed], batch_size, repetitions),
    )
    peaks = {}
    if memory:
        with peaks_of(lab.model, lab.x[:batch_size], lab.y[:batch_size]) as peak:
            for label in CRITERIA:
                peaks[label] = lab.kept("peak memory", {"criterion": label, "machine": environment()}, partial(peak, label))
    truth = {seed: np.abs(lab.oracle(seed)) for seed in seeds}
    judged = lab.judge(*held_back)
    whole = judged(np.ones(lab.graph.channels, bool))["accuracy"]

    def pruned(of: Mapping[int, Any]) -> dict[str, list[float]]:
        return {str(share): [judged(lab.mask(of[seed], share, rank))["accuracy"] for seed in seeds] for share in shares}

    mine = {label: {seed: found[label] for seed, found in scores.items()} for label in CRITERIA}
    values = {
        label: {
            **_ranks(lab, mine[label], scores, truth),
            "seconds": clocked[label],
            "megabytes": peaks.get(label),
            "accuracy": pruned(mine[label]),
        }
        for label in CRITERIA
    }
    settings = {**lab.settings, "seeds": seeds, "shares": shares, "rank": rank, "validation examples": len(held_back[0])}
    settings |= {"timed": timed, "repetitions": repetitions, "tied channels": len(lab.ranks.tied)}
    found = {"criteria": values, "accuracy by the oracle": pruned(truth), "unpruned accuracy": whole}
    return Study("obd", settings, found)


def _ranks(lab: Lab, mine: Mapping[int, Any], scores: Any, truth: Any) -> dict[str, list[float]]:
    ranks, once = lab.ranks, np.setdiff1d(lab.ranks.free, lab.ranks.tied)
    pairs = [(found, truth[seed]) for seed, found in mine.items()]
    made = {
        "per layer": [ranks.per_layer(*pair) for pair in pairs],
        "all layers": [ranks.raw(*pair) for pair in pairs],
        "all layers, l2": [ranks.l2(*pair) for pair in pairs],
        f"with {REFERENCE}": [ranks.raw(found, scores[seed][REFERENCE]) for seed, found in mine.items()],
    }
    if len(ranks.tied):
        made["read by one"] = [spearman(found[once], true[once]) for found, true in pairs]
        made["read by several"] = [spearman(found[ranks.tied], true[ranks.tied]) for found, true in pairs]
    return made
