"""`Scorer`: what `kt.score_all` runs, as a value that can run again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from keras_taylor._keras.batch_check import explained
from keras_taylor._keras.batches import Batch, length
from keras_taylor._keras.forms import Replayed
from keras_taylor._keras.losses import objectives
from keras_taylor._record.map_sizes import map_sizes
from keras_taylor._record.recorder import Recorder, from_weights
from keras_taylor._record.statistics import statistics_named
from keras_taylor._score.scores import Scores
from keras_taylor._trace.graph import ChannelGraph
from keras_taylor._trace.nonfinite_weights import layers_with_nan
from keras_taylor.criteria import Criterion
from keras_taylor.criteria._base import normalized
from keras_taylor.errors import BadInput, listed, warn

_DRAWS_OF_LABELS = 4
"""How often labels are sampled for each example: a single draw may be led astray by a rare label."""


class Scorer:
    """Scores by many criteria from one pass over the data.

    The recording step is compiled in the first run and used again in later ones; what is random is then drawn anew.

    Args:
        graph: of the model.
        criteria: whose scores are wanted.
        loss: used instead of the compiled one.
        sampled: whether labels are drawn from the model's own predictions.
        draws: how often, and how many random estimates of curvatures are averaged; None stands for the usual numbers.
        seed: for everything random.

    Raises:
        BadInput: no loss, or a criterion that needs given labels where they are sampled.
    """

    def __init__(
        self,
        graph: ChannelGraph,
        criteria: Sequence[Criterion],
        *,
        loss: Any = None,
        sampled: bool = False,
        draws: int | None = None,
        seed: int = 0,
    ) -> None:
        self.graph = graph
        self.criteria = tuple(criteria)
        self.sampled = sampled
        self.seed = seed
        self._loss = loss
        self.repeats = (draws or _DRAWS_OF_LABELS) if sampled else 1
        self._given = not sampled and any(one.needs_loss for one in self.criteria)
        self._of_weights = [number for number, one in enumerate(self.criteria) if not one.needs_data]
        self._of_data = [number for number, one in enumerate(self.criteria) if one.needs_data]
        self._recorder = self._made_recorder(loss, draws or 1) if self._of_data else None

    def __call__(self, batches: Iterable[Batch] = (), progress: Any = None) -> list[Scores]:
        """Score on these batches.

        Args:
            batches: as `keras_taylor._keras.batches.batches` makes them; none where no criterion needs data. Where they are
                read `twice`, those of an iterator are kept in memory.
            progress: a progress bar that counts passes.

        Returns:
            One `Scores` for each criterion, in their order.

        Raises:
            NonFiniteScores: a statistic or a score is NaN or infinite.
            BadInput: batches that do not fit the model, or a layer about which a criterion has nothing to say.
        """
        states = [one.init(self.graph.channels, np.random.default_rng(self.seed)) for one in self.criteria]
        constant, seen = from_weights(self.graph, self._needs(self._of_weights)), 0
        for number in self._of_weights:
            states[number] = self.criteria[number].update(states[number], constant)
        if self._recorder is not None:
            if self.twice:
                batches = Replayed(batches) if isinstance(batches, Iterator) else batches
                self._recorder.look(batches, progress)
            for position, (x, y, weight) in enumerate(batches):
                for _ in range(self.repeats):
                    with explained(self.graph.model, (x, y if self._given else None, weight), self._loss):
                        found = self._recorder(x, y, weight, position)
                    for number in self._of_data:
                        states[number] = self.criteria[number].update(states[number], found)
                    if progress is not None:
                        progress.add(1)
                seen += length(x)
        return [self._finished(one, state, seen) for one, state in zip(self.criteria, states, strict=True)]

    @property
    def twice(self) -> bool:
        """Whether the batches are read twice: forward alone at first, for what is fitted to them."""
        return self._recorder is not None and self._recorder.looks_first

    @property
    def passes(self) -> int:
        """How often the model runs on each batch."""
        return self.repeats + self.twice

    def _needs(self, numbers: Sequence[int]) -> frozenset[str]:
        return frozenset[str]().union(*(self.criteria[number].needs for number in numbers))

    def _made_recorder(self, loss: Any, draws: int) -> Recorder:
        """A recorder with the losses that the criteria ask for, after warnings about what they cannot tell."""
        needs = self._needs(self._of_data)
        for statistic in statistics_named(needs):
            if self.sampled and not statistic.takes_sampled_labels:
                name = next(one.name for one in self.criteria if statistic.name in one.needs)
                raise BadInput(
                    f"labels must be 'given' for criterion {name!r}. Received: 'sampled', or data without labels. Pass labels, "
                    "or choose another criterion, such as 'taylor2'."
                )
        needs_loss = any(one.needs_loss for one in self.criteria)
        losses = objectives(self.graph.model, loss, self.seed, labels=needs_loss and not self.sampled)
        for statistic in statistics_named(needs):
            for text in statistic.caveats(self.graph, losses.kinds):
                warn(text)
        return Recorder(self.graph, needs, losses, draws, self.seed)

    def _finished(self, criterion: Criterion, state: Any, seen: int) -> Scores:
        graph = self.graph
        values = np.asarray(criterion.result(state), float)
        silent = np.isnan(values) if values.shape == (graph.channels,) else np.zeros(graph.channels, bool)
        if silent.any() and not layers_with_nan(graph):
            names = [group.name for group in graph.groups if (silent & (graph.locks == ""))[group.channels].any()]
            if names:
                raise BadInput(
                    f"Criterion {criterion.name!r} must have something to look at in every layer that may shrink. Received: "
                    f"none in {listed(names, what='more layers')}. Choose another criterion for this model."
                )
            values = np.where(silent, 0.0, values)
        values = normalized(values, [group.channels for group in graph.groups], criterion.normalize)
        if criterion.flops:
            values = values - criterion.flops * _megaflops(graph)
        how = {"examples": seen if criterion.needs_data else 0, "labels": self._labels(criterion), "seed": self.seed}
        return Scores(graph, values, criterion.name, {**criterion.settings(), **how})

    def _labels(self, criterion: Criterion) -> str | None:
        """Where the labels are from that a criterion looks at; None where it looks at none."""
        if criterion.needs_loss or "labels" in criterion.needs:
            return "sampled" if self.sampled else "given"
        return "sampled" if any(one.draws_labels for one in statistics_named(criterion.needs)) else None


def _megaflops(graph: ChannelGraph) -> NDArray[np.float64]:
    """Millions of FLOPs of each channel's map: 2 (MACs + positions), as the paper counts a convolution with bias."""
    macs, _ = graph.cost.by_layer()
    found = np.zeros(graph.channels)
    for ids, name in graph.births:
        np.add.at(found, graph.channel[ids], 2.0 * macs.get(name, 0.0) / max(len(ids), 1))
    return (found + 2.0 * map_sizes(graph)) / 1e6
