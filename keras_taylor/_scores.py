"""Scores: one number per channel, and what they were made with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from keras_taylor._data import batches, count_batches
from keras_taylor._graph import ChannelGraph, trace
from keras_taylor._loss import summed_loss
from keras_taylor._recording import map_sizes, record, weights
from keras_taylor._self_labels import sampled_loss
from keras_taylor._table import render, table
from keras_taylor.criteria import Criterion, criterion_for
from keras_taylor.errors import BadInput, NonFiniteScores

DEFAULT_CRITERION = "taylor_gate"


@dataclass(frozen=True, eq=False)
class Scores:
    """One number per channel; a higher one is kept longer.

    Attributes:
        graph: the graph whose channels are scored.
        values: the scores, shape `(graph.channels,)`.
        criterion: name of the criterion.
        settings: how it was applied: options of the criterion, examples seen, seed.

    Raises:
        BadInput: `values` has another shape.
        NonFiniteScores: a score is NaN or infinite; the layers are named.
    """

    graph: ChannelGraph
    values: NDArray[np.float64]
    criterion: str = "given"
    settings: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        values = np.asarray(self.values, float)
        object.__setattr__(self, "values", values)
        if values.shape != (self.graph.channels,):
            raise BadInput(f"values of Scores must have shape ({self.graph.channels},). Received: {values.shape}.")
        bad = [group.name for group in self.graph.groups if not np.isfinite(values[group.channels]).all()]
        if bad:
            weights = [name for name, value in self._weights() if not np.isfinite(value).all()]
            bad = list(dict.fromkeys(weights)) or bad
            raise NonFiniteScores(
                f"Scores of criterion {self.criterion!r} must be finite. Received: NaN or infinity in {', '.join(bad[:5])}"
                f"{f' and {len(bad) - 5} more layers' if len(bad) > 5 else ''}. "
                "Check the model's weights and the data for NaN, and that the loss is finite on them."
            )

    def _weights(self) -> Iterator[tuple[str, NDArray[Any]]]:
        for step in self.graph.steps:
            yield from ((step.call.name, weight.numpy()) for weight in getattr(step.call.operation, "weights", ()))

    def by_layer(self) -> dict[str, NDArray[np.float64]]:
        """The scores of every producer's channels, in the order of its filters."""
        return {name: self.values[self.graph.channel[ids]] for ids, name in self.graph.births}

    def __str__(self) -> str:
        title = f"{self.criterion} scores of {self.graph.name} ({', '.join(f'{k}={v}' for k, v in self.settings.items())})"
        made = table(title, ("layer group", "channels>", "lowest>", "median>", "highest>"))
        for group in self.graph.groups:
            values = self.values[group.channels]
            numbers = (f"{x:.3g}" for x in (values.min(), np.median(values), values.max()))
            made.add_row(group.name, str(len(values)), *numbers)
        return render(made)


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
    draws: int = 4,
    seed: int = 0,
    verbose: int = 0,
) -> Scores:
    """Score every channel of a model.

    The model runs in inference: forward, and backward to activations only. Nothing is left behind on it.

    Args:
        model: a built Functional or Sequential model; compiled, unless `loss` is given or the criterion needs no data.
        data: what `fit` takes: arrays `(x, y)` or `(x, y, sample_weight)`, a `tf.data.Dataset`, a `keras.utils.PyDataset`, an
            iterable of batches. None for criteria that need no data (`"magnitude"`, `"random"`).
        criterion: a registered name, or a configured criterion such as `kt.criteria.Taylor(spatial="sum")`. `"taylor"` is
            the paper's Eq. 8.
        loss: a loss to use instead of the compiled one.
        examples: look at no more than this many examples.
        batch_size: for arrays; it changes speed and memory, not the scores (but which labels are sampled).
        class_weight: as in `fit`.
        labels: `"given"` takes them from the data; `"sampled"` needs none, and draws them from the model's own predictions.
        draws: how often labels are sampled for each example. One draw may be led astray by a rare label: a confident model
            contributes much to the loss only where an unlikely label is drawn.
        seed: for the random choice of `examples` from arrays, for sampled labels, and for criteria that draw random numbers.
        verbose: 1 shows a progress bar like that of `fit`; 0 and 2 do not.

    Returns:
        One number per channel of `kt.trace(model)`; `print(scores)` is a table.

    Raises:
        UnsupportedModel: the model cannot be traced.
        UnknownName: no criterion has this name.
        BadInput: data without labels, no data, or no loss.
        NonFiniteScores: a score is NaN or infinite; the layers are named.

    Example:
        >>> import keras, numpy as np, keras_taylor as kt
        >>> model = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Conv2D(4, 3, activation="relu"),
        ...                           keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(2)])
        >>> model.compile(loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        >>> x, y = np.ones((6, 8, 8, 1), "float32"), np.array([0, 1, 0, 1, 0, 1])
        >>> kt.score(model, (x, y), criterion="taylor").settings["examples"]
        6
    """
    chosen, graph = criterion_for(criterion), trace(model)
    state, seen = chosen.init(graph.channels, np.random.default_rng(seed)), 0
    if "contribution" in chosen.needs:
        if data is None:
            raise BadInput(f"data must be given for criterion {chosen.name!r}. Received: None. Pass (x, y) or a data set.")
        if labels not in ("given", "sampled"):
            raise BadInput(f"labels of score must be 'given' or 'sampled'. Received: {labels!r}.")
        if draws < 1:
            raise BadInput(f"draws of score must be at least 1. Received: {draws!r}.")
        own = labels == "sampled"
        objective = sampled_loss(model, loss, seed) if own else summed_loss(model, loss)
        given = batches(
            data,
            batch_size=batch_size,
            examples=examples,
            class_weight=None if own else class_weight,
            seed=seed,
            labels=not own,
        )
        repeats = draws if own else 1
        again = (batch for batch in given for _ in range(repeats))
        expected = count_batches(data, batch_size=batch_size, examples=examples)
        expected = expected and expected * repeats
        progress = keras.utils.Progbar(expected, verbose=int(verbose == 1))
        for batch in record(model, graph, objective, again):
            state, seen = chosen.update(state, batch), seen + len(batch.contribution)
            progress.add(1)
        seen //= repeats
    else:
        state = chosen.update(state, weights(graph))
    values = np.asarray(chosen.result(state), float)
    if chosen.normalize == "l2":
        values = _l2(graph, values)
    if chosen.flops:
        values = values - chosen.flops * _megaflops(graph)
    return Scores(graph, values, chosen.name, {**chosen.settings(), "examples": seen, "labels": labels, "seed": seed})


def _l2(graph: ChannelGraph, values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Divide by the l2 norm of each layer group (a group of zeros stays as it is)."""
    values = values.copy()
    for group in graph.groups:
        norm = np.sqrt((values[group.channels] ** 2).sum())
        values[group.channels] /= norm or 1.0
    return values


def _megaflops(graph: ChannelGraph) -> NDArray[np.float64]:
    """Millions of FLOPs of each channel's own map: 2 (MACs + positions), as the paper counts a convolution with bias."""
    macs, _ = graph.cost.by_layer()
    own = np.zeros(graph.channels)
    for ids, name in graph.births:
        np.add.at(own, graph.channel[ids], 2.0 * macs.get(name, 0.0) / max(len(ids), 1))
    return (own + 2.0 * map_sizes(graph)) / 1e6
