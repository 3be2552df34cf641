"""Score: statistics of a model's channels, given to criteria."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import chain
from typing import Any

from keras_taylor._keras.batches import Batch, batches, count_batches, joined
from keras_taylor._keras.forms import Reread
from keras_taylor._keras.progress import progress_bar
from keras_taylor._output.deprecations import renamed
from keras_taylor._score.scorer import Scorer
from keras_taylor._score.scores import Scores
from keras_taylor._trace.graph import as_graph
from keras_taylor.criteria import Criterion, criterion_for
from keras_taylor.errors import BadInput, several, shown, whole_number

DEFAULT_CRITERION = "taylor_gate"


@renamed(data="x")
def score(
    model: Any,
    x: Any = None,
    y: Any = None,
    *,
    criterion: str | Criterion = DEFAULT_CRITERION,
    loss: Any = None,
    examples: int | None = None,
    class_weight: Mapping[int, float] | None = None,
    labels: str = "auto",
    draws: int | None = None,
    batch_size: int = 32,
    seed: int = 0,
    verbose: Any = "auto",
) -> Scores:
    """Score every channel of a model.

    The model runs in inference: forward, and backward to activations only. Nothing is left behind on it.

    Args:
        model: a built Functional or Sequential model, or its graph (`kt.trace(model)`); compiled, unless `loss` is given or
            the criterion needs no loss.
        x: what `fit` takes: arrays (with `y`), a tuple `(x, y)` or `(x, y, sample_weight)`, a `tf.data.Dataset`, a
            `keras.utils.PyDataset`, an iterable of batches. None for criteria that need no data (`"magnitude"`, `"l1"`,
            `"random"`...).
        y: labels, where `x` is arrays.
        criterion: a registered name, or a configured criterion such as `kt.criteria.Taylor(spatial="sum")`. `"taylor"` is
            the paper's Eq. 8. `kt.score_all` takes many, at the price of one.
        loss: a loss to use instead of the compiled one.
        examples: look at no more than this many examples.
        class_weight: the weight of each class index, as in `fit`; sampled labels have none.
        labels: `"given"` takes them from the data; `"sampled"` needs none, and draws them from the model's own predictions;
            `"auto"` takes those that are there, and samples where there are none. `scores.settings["labels"]` says which.
        draws: how often labels are sampled for each example: 4 by default. One draw may be led astray by a rare label: a
            confident model contributes much to the loss only where an unlikely label is drawn. Also the number of draws of
            Fisher information and of Hutchinson's estimate: there 1 by default, since the mean over the examples is taken.
        batch_size: for arrays; it changes speed and memory, not the scores (but which labels are sampled).
        seed: for the random choice of `examples` from arrays, for sampled labels, and for criteria that draw random numbers.
        verbose: 1 or `"auto"` shows a progress bar like that of `fit`; 0 and 2 do not.

    Returns:
        One number per channel of `kt.trace(model)`; `print(scores)` is a table.

    Raises:
        UnsupportedModel: the model cannot be traced.
        UnknownName: no criterion has this name.
        BadInput: data without labels, no data, no loss, or inputs and labels that do not fit the model and its loss; or a layer
            about which the criterion has nothing to say.
        NonFiniteScores: a statistic or a score is NaN or infinite; the layers, and the batch, are named.

    Example:
        >>> import keras, numpy as np, keras_taylor as kt
        >>> model = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Conv2D(4, 3, activation="relu"),
        ...                           keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(2)])
        >>> model.compile(loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        >>> x, y = np.ones((6, 8, 8, 1), "float32"), np.array([0, 1, 0, 1, 0, 1])
        >>> scores = kt.score(model, x, y, criterion="taylor", verbose=0)
        >>> scores.settings["examples"], scores.settings["labels"]
        (6, 'given')
    """
    (found,) = score_all(
        model,
        x,
        y,
        criteria={"": criterion_for(criterion)},
        loss=loss,
        examples=examples,
        class_weight=class_weight,
        labels=labels,
        draws=draws,
        batch_size=batch_size,
        seed=seed,
        verbose=verbose,
    ).values()
    return found


@renamed(data="x")
def score_all(
    model: Any,
    x: Any = None,
    y: Any = None,
    *,
    criteria: Sequence[str | Criterion] | Mapping[str, str | Criterion],
    loss: Any = None,
    examples: int | None = None,
    class_weight: Mapping[int, float] | None = None,
    labels: str = "auto",
    draws: int | None = None,
    batch_size: int = 32,
    seed: int = 0,
    verbose: Any = "auto",
) -> dict[str, Scores]:
    """Score every channel by many criteria at the price of one: all look at the same forward and backward pass.

    Only what a criterion needs is recorded: curvature costs further backward passes if one asks for it.

    Args:
        model: as in `kt.score`.
        x: what `fit` takes, as in `kt.score`.
        y: labels, where `x` is arrays.
        criteria: names, or configured criteria, of which no two may have one name; or a mapping from labels of your own to
            names or criteria.
        loss: a loss to use instead of the compiled one.
        examples: look at no more than this many examples.
        class_weight: the weight of each class index, as in `fit`.
        labels: `"auto"`, `"given"` or `"sampled"`, as in `kt.score`.
        draws: how often labels, and directions of Hutchinson's estimate, are drawn, as in `kt.score`.
        batch_size: for arrays.
        seed: for everything random.
        verbose: 1 or `"auto"` shows a progress bar; 0 and 2 do not.

    Returns:
        The `kt.Scores` of each criterion by its name, or by its label: the same as `kt.score` gives for it alone.

    Raises:
        UnknownName: no criterion has one of the names.
        BadInput: no criteria, two of one name, or what `kt.score` refuses.

    Example:
        >>> import keras, numpy as np, keras_taylor as kt
        >>> model = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Conv2D(4, 3, activation="relu"),
        ...                           keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(2)])
        >>> model.compile(loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        >>> x, y = np.ones((6, 8, 8, 1), "float32"), np.array([0, 1, 0, 1, 0, 1])
        >>> found = kt.score_all(model, x, y, criteria=["taylor", "apoz", "obd"], verbose=0)
        >>> list(found), found["apoz"].criterion
        (['taylor', 'apoz', 'obd'], 'apoz')
    """
    graph, data, chosen = as_graph(model), joined(x, y), _by_label(criteria)
    if not isinstance(labels, str) or labels not in ("auto", "given", "sampled"):
        raise BadInput(f"labels must be 'auto', 'given' or 'sampled'. Received: {labels!r}. Labels themselves are y.")
    draws = None if draws is None else whole_number("draws", draws)
    wanted = list(chosen.values())
    needing = [one.name for one in wanted if one.needs_data]
    if not needing:
        return dict(zip(chosen, Scorer(graph, wanted, seed=seed)(), strict=True))
    if data is None:
        raise BadInput(f"x must be given for criterion {needing[0]!r}. Received: None. Pass x and y, or a data set.")
    needs_loss = any(one.needs_loss for one in wanted)
    labelled = {"auto": None, "given": True, "sampled": False}[labels] if needs_loss else False
    read = partial(
        batches,
        data,
        batch_size=batch_size,
        examples=examples,
        class_weight=class_weight if labelled is not False else None,
        seed=seed,
        labels=labelled,
        name="x",
    )
    reading, sampled = read(), labels == "sampled"
    if labelled is None:
        first = next(reading)
        sampled, reading = first[1] is None, chain([first], reading)
    scorer = Scorer(graph, wanted, loss=loss, sampled=sampled, draws=draws, seed=seed)
    given: Iterable[Batch] = Reread(read) if scorer.twice and not isinstance(data, Iterator) else reading
    count = count_batches(data, batch_size=batch_size, examples=examples)
    found = scorer(given, progress_bar(count and count * scorer.passes, verbose))
    return dict(zip(chosen, found, strict=True))


def _by_label(criteria: Any) -> dict[str, Criterion]:
    """The criteria by the labels under which their scores are returned."""
    if isinstance(criteria, (str, Criterion)) or not criteria:
        raise BadInput(
            f"criteria of score_all must be a list of criteria, or a mapping from labels to them. Received: {shown(criteria)}. "
            "kt.score takes a single one."
        )
    if isinstance(criteria, Mapping):
        return {label: criterion_for(one) for label, one in criteria.items()}
    chosen = [criterion_for(one) for one in several("criteria", criteria)]
    names = [one.name for one in chosen]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise BadInput(
            f"criteria of score_all must have different names. Received: {twice[0]!r} more than once. Pass a mapping from "
            "labels of your own to criteria."
        )
    return dict(zip(names, chosen, strict=True))
