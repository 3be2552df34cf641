"""Score: statistics of a model's channels, given to criteria."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from keras_taylor._keras.batches import Batch, batches, count_batches, length
from keras_taylor._keras.heads import LIKELIHOODS
from keras_taylor._keras.losses import objectives
from keras_taylor._record.gauss_newton import warn_where_bent
from keras_taylor._record.recorder import Recorder, from_weights, record
from keras_taylor._record.weight_statistics import map_sizes
from keras_taylor._score.scores import Scores
from keras_taylor._trace.broken_weights import broken_weights
from keras_taylor._trace.graph import ChannelGraph, trace
from keras_taylor.criteria import Criterion, criterion_for
from keras_taylor.criteria._base import FROM_DATA, FROM_LOSS, normalized
from keras_taylor.errors import BadInput

DEFAULT_CRITERION = "taylor_gate"


def score(
    model: Any,
    data: Any = None,
    criterion: str | Criterion = DEFAULT_CRITERION,
    *,
    loss: Any = None,
    examples: int | None = None,
    batch_size: int = 32,
    class_weight: Mapping[int, float] | None = None,
    labels: str = "given",
    draws: int | None = None,
    seed: int = 0,
    verbose: int = 0,
) -> Scores:
    """Score every channel of a model.

    The model runs in inference: forward, and backward to activations only. Nothing is left behind on it.

    Args:
        model: a built Functional or Sequential model; compiled, unless `loss` is given or the criterion needs no data.
        data: what `fit` takes: arrays `(x, y)` or `(x, y, sample_weight)`, a `tf.data.Dataset`, a `keras.utils.PyDataset`, an
            iterable of batches. None for criteria that need no data (`"magnitude"`, `"l1"`, `"random"`...).
        criterion: a registered name, or a configured criterion such as `kt.criteria.Taylor(spatial="sum")`. `"taylor"` is
            the paper's Eq. 8. `kt.score_all` takes many, at the price of one.
        loss: a loss to use instead of the compiled one.
        examples: look at no more than this many examples.
        batch_size: for arrays; it changes speed and memory, not the scores (but which labels are sampled).
        class_weight: as in `fit`.
        labels: `"given"` takes them from the data; `"sampled"` needs none, and draws them from the model's own predictions.
        draws: how often labels are sampled for each example: 4 by default. One draw may be led astray by a rare label: a
            confident model contributes much to the loss only where an unlikely label is drawn. Also the number of draws of
            Fisher information and of Hutchinson's estimate: there 1 by default, since the mean over the examples is taken.
        seed: for the random choice of `examples` from arrays, for sampled labels, and for criteria that draw random numbers.
        verbose: 1 shows a progress bar like that of `fit`; 0 and 2 do not.

    Returns:
        One number per channel of `kt.trace(model)`; `print(scores)` is a table.

    Raises:
        UnsupportedModel: the model cannot be traced.
        UnknownName: no criterion has this name.
        BadInput: data without labels, no data, or no loss; or a layer about which the criterion has nothing to say.
        NonFiniteScores: a statistic or a score is NaN or infinite; the layers, and the batch, are named.

    Example:
        >>> import keras, numpy as np, keras_taylor as kt
        >>> model = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Conv2D(4, 3, activation="relu"),
        ...                           keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(2)])
        >>> model.compile(loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        >>> x, y = np.ones((6, 8, 8, 1), "float32"), np.array([0, 1, 0, 1, 0, 1])
        >>> kt.score(model, (x, y), criterion="taylor").settings["examples"]
        6
    """
    (scores,) = score_all(
        model,
        data,
        [criterion],
        loss=loss,
        examples=examples,
        batch_size=batch_size,
        class_weight=class_weight,
        labels=labels,
        draws=draws,
        seed=seed,
        verbose=verbose,
    )
    return scores


def score_all(
    model: Any,
    data: Any = None,
    criteria: Sequence[str | Criterion] = (DEFAULT_CRITERION,),
    *,
    loss: Any = None,
    examples: int | None = None,
    batch_size: int = 32,
    class_weight: Mapping[int, float] | None = None,
    labels: str = "given",
    draws: int | None = None,
    seed: int = 0,
    verbose: int = 0,
) -> list[Scores]:
    """Score every channel by many criteria at the price of one: all look at the same forward and backward pass.

    Only what a criterion needs is recorded: curvature costs further backward passes if one asks for it.

    Args:
        model: as in `kt.score`, like all that follows.
        data: what `fit` takes.
        criteria: names, or configured criteria.
        loss: instead of the compiled one.
        examples: at most this many.
        batch_size: for arrays.
        class_weight: as in `fit`.
        labels: `"given"` or `"sampled"`.
        draws: of random labels and directions.
        seed: for everything random.
        verbose: 1 shows a progress bar.

    Returns:
        One `kt.Scores` for each criterion, in their order: the same as `kt.score` gives for it alone.

    Raises:
        BadInput: as `kt.score`, or no criterion at all.

    Example:
        >>> import keras, numpy as np, keras_taylor as kt
        >>> model = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Conv2D(4, 3, activation="relu"),
        ...                           keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(2)])
        >>> model.compile(loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        >>> x, y = np.ones((6, 8, 8, 1), "float32"), np.array([0, 1, 0, 1, 0, 1])
        >>> [scores.criterion for scores in kt.score_all(model, (x, y), ["taylor", "apoz", "obd"])]
        ['taylor', 'apoz', 'obd']
    """
    if isinstance(criteria, (str, Criterion)) or not criteria:
        raise BadInput(
            f"criteria of score_all must be a list of criteria. Received: {criteria!r}. kt.score takes a single one."
        )
    chosen, graph = [criterion_for(criterion) for criterion in criteria], trace(model)
    states = [one.init(graph.channels, np.random.default_rng(seed)) for one in chosen]
    constant = from_weights(graph, _union(chosen))
    states = [
        state if one.needs & FROM_DATA else one.update(state, constant) for one, state in zip(chosen, states, strict=True)
    ]
    fed = [number for number, one in enumerate(chosen) if one.needs & FROM_DATA]
    seen = 0
    if fed:
        hungry = [chosen[number] for number in fed]
        if data is None:
            raise BadInput(f"data must be given for criterion {hungry[0].name!r}. Received: None. Pass (x, y) or a data set.")
        if labels not in ("given", "sampled"):
            raise BadInput(f"labels of score must be 'given' or 'sampled'. Received: {labels!r}.")
        if draws is not None and draws < 1:
            raise BadInput(f"draws of score must be at least 1. Received: {draws!r}.")
        own = labels == "sampled"
        repeats = (4 if draws is None else draws) if own else 1
        needs = _union(hungry)
        recorder = _recorder(model, graph, needs, loss, own, draws or 1, seed)
        given = batches(
            data,
            batch_size=batch_size,
            examples=examples,
            class_weight=class_weight if needs & FROM_LOSS and not own else None,
            seed=seed,
            labels=bool(needs & FROM_LOSS) and not own,
        )
        expected = count_batches(data, batch_size=batch_size, examples=examples)
        progress = keras.utils.Progbar(expected and expected * repeats, verbose=int(verbose == 1))

        def counted() -> Iterator[Batch]:
            nonlocal seen
            for batch in given:
                seen += length(batch[0])
                for _ in range(repeats):
                    yield batch

        for one in record(recorder, counted()):
            for number in fed:
                states[number] = chosen[number].update(states[number], one)
            progress.add(1)
    return [
        _finished(graph, one, state, {"examples": seen if one.needs & FROM_DATA else 0, "labels": labels, "seed": seed})
        for one, state in zip(chosen, states, strict=True)
    ]


def _union(criteria: Sequence[Criterion]) -> frozenset[str]:
    return frozenset[str]().union(*(one.needs for one in criteria))


def _recorder(model: Any, graph: ChannelGraph, needs: frozenset[str], loss: Any, own: bool, draws: int, seed: int) -> Recorder:
    """A recorder with the losses that `needs` ask for, and warnings about what they cannot give."""
    if "linear_change" in needs and own:
        raise BadInput("labels must be 'given' for criterion 'taylor_logits'. Received: 'sampled'. Choose 'taylor2'.")
    losses = objectives(model, loss, seed, labels=bool(needs & FROM_LOSS) and not own)
    if "gauss_newton" in needs:
        warn_where_bent(graph, losses.kinds)
    if "fisher" in needs and not set(losses.kinds) <= LIKELIHOODS:
        warnings.warn(
            "Fisher information takes an output that is neither softmax nor sigmoid as Gaussian with unit variance. Received: "
            f"outputs that are {', '.join(losses.kinds)}. Where the scale matters, use curvature='gauss_newton'.",
            stacklevel=4,
        )
    return Recorder(model, graph, needs, losses, draws, seed)


def _finished(graph: ChannelGraph, criterion: Criterion, state: Any, common: Mapping[str, Any]) -> Scores:
    values = np.asarray(criterion.result(state), float)
    silent = np.isnan(values) if values.shape == (graph.channels,) else np.zeros(graph.channels, bool)
    if silent.any() and not broken_weights(graph):
        names = [group.name for group in graph.groups if (silent & (graph.locks == ""))[group.channels].any()]
        if names:
            raise BadInput(
                f"Criterion {criterion.name!r} must have something to look at in every layer that may shrink. Received: none "
                f"in {', '.join(names[:5])}{f' and {len(names) - 5} more layers' if len(names) > 5 else ''}. "
                "Choose another criterion for this model."
            )
        values = np.where(silent, 0.0, values)
    values = normalized(values, [group.channels for group in graph.groups], criterion.normalize)
    if criterion.flops:
        values = values - criterion.flops * _megaflops(graph)
    return Scores(graph, values, criterion.name, {**criterion.settings(), **common})


def _megaflops(graph: ChannelGraph) -> NDArray[np.float64]:
    """Millions of FLOPs of each channel's own map: 2 (MACs + positions), as the paper counts a convolution with bias."""
    macs, _ = graph.cost.by_layer()
    own = np.zeros(graph.channels)
    for ids, name in graph.births:
        np.add.at(own, graph.channel[ids], 2.0 * macs.get(name, 0.0) / max(len(ids), 1))
    return (own + 2.0 * map_sizes(graph)) / 1e6
