"""Do activations add anything to Taylor? A blend of both, its weight chosen by cross-validation inside the training set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from keras_taylor._keras.batches import class_indices, joined
from keras_taylor._output.deprecations import renamed
from keras_taylor._output.optional import optional
from keras_taylor._plan.plan import check_rank
from keras_taylor.criteria import Activation, Criterion, Taylor, criterion_for
from keras_taylor.criteria.blend import blended
from keras_taylor.errors import BadInput, whole_number
from keras_taylor.studies._blend_shown import INF, names_of
from keras_taylor.studies._lab import Lab, Mask, Rows, check_shares
from keras_taylor.studies._statistics import Array
from keras_taylor.studies._study import Study

PARTS: dict[str, Criterion] = {"Taylor": Taylor(normalize=None), "activation": Activation(normalize=None)}
GATE: dict[str, Criterion] = {"taylor_gate": criterion_for("taylor_gate")}


@renamed(data="x")
def blend(
    model: Any,
    x: Any,
    y: Any = None,
    *,
    validation_data: Any,
    run_dir: str | Path,
    weights: Sequence[float] = (0, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, INF),
    shares: Sequence[float] = (0.9, 0.8, 0.7),
    folds: int = 5,
    rank: str = "saving",
    examples: int = 1024,
    seeds: Sequence[int] = (0, 1, 2),
    batch_size: int = 64,
    verbose: str | int = "auto",
) -> Study:
    """Does Taylor (Eq. 8) + lambda * mean activation, both l2-normalised per layer, beat Taylor when lambda is not peeked at?

    For each seed a sample of the training data is drawn and cut into folds with the same share of every class. For each fold
    the channels are scored on the others, the net is planned for a share of the MACs with every lambda, and its loss with the
    dropped channels silenced is measured on the fold. The lambda with the least mean loss is chosen (of equal ones, the
    smallest). With it the channels are scored on the whole sample, and only then are `validation_data` looked at, once, beside
    lambda = 0, which is Taylor alone, infinity, which is activation alone, and `taylor_gate`, which is Taylor without 1/M and
    without normalisation, and needs no lambda. Nothing is fine-tuned.

    Args:
        model: a compiled classifier, or the `ChannelGraph` of one.
        x: training images as `fit` takes them: an array of shape `(n, height, width, colours)` beside `y`, a tuple `(x, y)`, or
            a data set that yields both.
        y: their labels, shape `(n,)` or one-hot `(n, classes)`, where `x` is an array.
        validation_data: labelled data that neither the net nor the choice has seen: the test.
        run_dir: a folder for studies of this model and these data. What is there is not measured again.
        weights: the lambdas to choose from, at least 0; infinity is activation alone.
        shares: the budgets: shares of the MACs that stay, each between 0 and 1.
        folds: parts of a sample, at least 2.
        rank: `"saving"` removes what costs least score per MAC saved, `"score"` what has the least score, as in `kt.plan`.
        examples: how many examples a sample has.
        seeds: one sample is drawn for each.
        batch_size: examples that are scored at a time.
        verbose: `"auto"` or 1 says what is measured, with progress bars; 2 says it without them, 0 is silent.

    Returns:
        A `kt.studies.Study`; `.save(folder)` writes JSON, Markdown and a figure.

    Raises:
        BadInput: what cannot work, such as a class with fewer examples in a sample than folds, or a folder of another model or
            other data; before any work.
        InfeasibleTarget: a share of the MACs cannot be reached; before any work.
        NonFiniteScores: a statistic or the loss is not finite.

    Example:
        >>> import keras, numpy as np, tempfile, keras_taylor as kt
        >>> model = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Conv2D(8, 3, activation="relu"),
        ...                           keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(2)])
        >>> model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        >>> x, y = np.random.default_rng(0).random((64, 8, 8, 1)).astype("float32"), np.arange(64) % 2
        >>> study = kt.studies.blend(model, (x, y), validation_data=(x, y), run_dir=tempfile.mkdtemp(), examples=32, folds=2,
        ...                          weights=(0, 1), shares=(0.7,), seeds=(0, 1), verbose=0)
        >>> [row[0] for row in study.tables[1].rows]
        ['0', '1']

    References:
        Molchanov et al. 2017, Eq. 8 and section 2.2, which name both criteria; the blend is an open question.
    """
    shares, weights = check_shares(shares), _check_weights(weights)
    check_rank(rank)
    lab = Lab(model, joined(x, y), run_dir, examples=examples, seeds=seeds, batch_size=batch_size, verbose=verbose)
    seeds = lab.seeds
    held_back = lab.validation(validation_data)
    judge = lab.judge(*held_back, say=False)
    parts = {seed: stratified(class_indices(lab.y).ravel(), lab.sample(seed), folds, seed) for seed in seeds}
    lab.check_reachable(shares)
    made: dict[str, Any] = {f"{share:g}": _held_out(lab, parts, weights, share, rank) for share in shares}
    for share in shares:
        chosen = made[f"{share:g}"]["chosen"]
        made[f"{share:g}"]["test"] = [
            {name: judge(mask) for name, mask in _final_masks(lab, seed, weights[number], share, rank).items()}
            for seed, number in zip(seeds, (names_of(weights).index(one) for one in chosen), strict=True)
        ]
    full = judge(np.ones(lab.graph.channels, bool))
    differences = {share: _differences(found) for share, found in made.items()}
    differences["mean"] = {
        measure: [float(one) for one in np.mean([found[measure] for found in differences.values()], axis=0)]
        for measure in ("accuracy", "loss")
    }
    settings: dict[str, Any] = {**lab.settings, "weights": names_of(weights), "shares": shares, "folds": folds, "rank": rank}
    settings |= {"seeds": seeds, "validation examples": len(held_back[0])}
    return Study("blend", settings, {"shares": made, "chosen less lambda=0": differences, "unpruned": full})


def stratified(classes: NDArray[Any], rows: Rows, folds: int, seed: int) -> list[tuple[Rows, Rows]]:
    """The rows outside and inside each fold, the classes spread evenly over the folds.

    Args:
        classes: of all examples.
        rows: numbers of the examples of a sample.
        folds: how many.
        seed: of the sample, and of the shuffle.

    Raises:
        BadInput: a class that the sample lacks, or has fewer examples of than there are folds.
    """
    folds = whole_number("folds", folds, 2)
    for one in np.unique(classes).tolist():
        count = int((classes[rows] == one).sum())
        if not count:
            raise BadInput(
                f"Every class must be in the sample. Received: no example of class {one} among the {len(rows)} of seed {seed}. "
                "Raise examples."
            )
        if count < folds:
            raise BadInput(
                f"Every class must have as many examples in the sample as there are folds. Received: {count} of class {one} "
                f"with seed {seed} and {folds} folds. Raise examples, or lower folds."
            )
    folds_of_classes = optional("sklearn.model_selection", "studies").StratifiedKFold(folds, shuffle=True, random_state=seed)
    cut = folds_of_classes.split(np.zeros(len(rows)), classes[rows])
    return [(rows[train], rows[held]) for train, held in cut]


def _check_weights(weights: Sequence[float]) -> list[float]:
    """The weights in ascending order."""
    found = list(weights)
    if not found or len(set(names_of(found))) < len(found) or not all(weight >= 0 for weight in found):
        raise BadInput(f"weights must be different numbers of at least 0, in six digits, and at least one. Received: {found}.")
    return sorted(found)


def _mask(lab: Lab, scores: Mapping[str, Array], weight: float, share: float, rank: str) -> Mask:
    return lab.mask(blended(scores["Taylor"], scores["activation"], lab.ranks.groups, weight), share, rank)


def _held_out(lab: Lab, parts: Mapping[int, Any], weights: Sequence[float], share: float, rank: str) -> dict[str, Any]:
    """Losses and accuracies on the folds, `[seed][weight][fold]`, and the weight chosen for each seed."""
    folds = len(next(iter(parts.values())))
    scores = {
        (seed, number): lab.scores_on(PARTS, train, {"seed": seed, "fold": number, "folds": folds})
        for seed, cut in parts.items()
        for number, (train, _) in enumerate(cut)
    }
    progress = lab.progress(f"held-out folds at {100 * share:g} % of the MACs", len(scores))
    losses, accuracies = np.zeros((2, len(parts), len(weights), folds))
    for place, (seed, cut) in enumerate(parts.items()):
        for number, (_, rows) in enumerate(cut):
            judge = lab.judge(lab.x[rows], lab.y[rows], say=False)
            for column, weight in enumerate(weights):
                found = judge(_mask(lab, scores[seed, number], weight, share, rank))
                losses[place, column, number], accuracies[place, column, number] = found["loss"], found["accuracy"]
            progress.add(1)
    best = losses.mean(axis=-1).argmin(axis=-1)  # the first, and so the smallest, of equal ones
    return {
        "held-out loss": losses.tolist(),
        "held-out accuracy": accuracies.tolist(),
        "weights": names_of(weights),
        "chosen": [names_of(weights)[one] for one in best],
        "held-out accuracy of the chosen": [float(accuracies[place, one].mean()) for place, one in enumerate(best)],
    }


def _final_masks(lab: Lab, seed: int, weight: float, share: float, rank: str) -> dict[str, Mask]:
    """From the scores of the whole sample."""
    scores = lab.scores(PARTS, seed)
    blends = {"chosen": weight, "Taylor": 0.0, "activation": INF}
    masks = {name: _mask(lab, scores, one, share, rank) for name, one in blends.items()}
    return masks | {name: lab.mask(values, share, rank) for name, values in lab.scores(GATE, seed).items()}


def _differences(found: Mapping[str, Any]) -> dict[str, list[float]]:
    """The chosen blend less Taylor alone, for each seed."""
    return {m: [one["chosen"][m] - one["Taylor"][m] for one in found["test"]] for m in ("accuracy", "loss")}
