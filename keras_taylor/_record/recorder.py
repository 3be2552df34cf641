"""Record statistics of every channel, example by example, in one pass over a batch; nothing is left behind on the model."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_taylor._keras.batch_check import explained
from keras_taylor._keras.batches import Batch
from keras_taylor._keras.losses import Objectives
from keras_taylor._keras.model import layers_of
from keras_taylor._record.backward import CONTRIBUTION, Backward
from keras_taylor._record.forward import Forward, check_finite
from keras_taylor._record.gate import AtPosition, by_example, probed
from keras_taylor._record.map_sizes import map_sizes
from keras_taylor._record.statistics import statistics_named
from keras_taylor._record.statistics._base import (
    BackwardStatistic,
    Columns,
    FittedStatistic,
    GradientStatistic,
    Pass,
    ProbeStatistic,
    ReadStatistic,
    SiteFit,
    WeightStatistic,
)
from keras_taylor._trace.graph import ChannelGraph
from keras_taylor._trace.nonfinite_weights import CHECK_FOR_NAN, layers_with_nan
from keras_taylor._trace.read_sites import ReadSite
from keras_taylor.criteria import Record
from keras_taylor.criteria._statistics import LOSS
from keras_taylor.errors import BadInput, NonFiniteScores, listed

# float16 gradients of single examples underflow without it; a power of two, so dividing it out is exact.
_HALF_SCALE = 2.0**12


def from_weights(graph: ChannelGraph, needs: Iterable[str]) -> Record:
    """The `Record` of what needs no data: all that criteria of weights look at, and a part of every other record.

    Args:
        graph: of the model.
        needs: names of statistics; those that need data are left out.
    """
    wanted = [one for one in statistics_named(needs) if isinstance(one, WeightStatistic)]
    groups = [group.channels for group in graph.groups]
    return Record(graph.channels, map_sizes(graph), groups, {one.name: one.measure(graph) for one in wanted})


class Recorder:
    """The compiled recording step of one model.

    The model runs in inference (`training=False`): forward, and backward to activations only; no gradient of a weight is
    computed, no statistic of the model changes.

    Args:
        graph: of the model to record.
        needs: names of statistics; only these are computed.
        objectives: the losses.
        draws: of labels and directions, for estimates.
        seed: for the directions.

    Raises:
        BadInput: no layer of the model reads channels.
    """

    def __init__(
        self, graph: ChannelGraph, needs: frozenset[str], objectives: Objectives, draws: int = 1, seed: int = 0
    ) -> None:
        self.graph = graph
        self.forward = Forward.of(graph, objectives)
        self.draws = draws
        if not self.forward.sites:
            raise BadInput(f"The model must have a layer that reads channels, such as Dense. Received: {graph.name!r}.")
        self._constant = from_weights(graph, needs)
        self._statistics = [one for one in statistics_named(needs) if not isinstance(one, WeightStatistic)]
        self._read = [one for one in self._statistics if isinstance(one, ReadStatistic)]
        self._gradients = [one for one in self._statistics if isinstance(one, ProbeStatistic)]
        self._backward = [one for one in self._statistics if isinstance(one, BackwardStatistic)]
        probing = [*self._gradients, *(statistics_named([CONTRIBUTION]) if self._backward else [])]
        self._fits: list[list[SiteFit]] = []
        self._probes: dict[str, Sequence[AtPosition]] = {}
        for one in probing:
            if isinstance(one, GradientStatistic):
                self._probes[one.probe] = [one.at_position] * len(self.forward.sites)
            elif isinstance(one, FittedStatistic):
                self._fits.append([one.fit_at(site) for site in self.forward.sites])
                self._probes[one.probe] = [fit.at_position for fit in self._fits[-1]]
        self._first_look = tf.function(self._sums, reduce_retracing=True)
        half = any(layer.compute_dtype == "float16" for layer in layers_of(graph.model))
        self._scale = _HALF_SCALE if half else 1.0
        separate = [one.separate_pass(self.forward, draws, seed) for one in self._statistics]
        self._passes: list[Pass] = [tf.function(self._pass, reduce_retracing=True), *filter(None, separate)]

    @property
    def looks_first(self) -> bool:
        """Whether `look` must come before the first call."""
        return bool(self._fits)

    def look(self, batches: Iterable[Batch], progress: Any = None) -> None:
        """Run all batches forward, and fit what statistics fit to activations.

        Args:
            batches: of which only the inputs are looked at.
            progress: a progress bar that counts batches.

        Raises:
            NonFiniteScores: NaN or infinity in what a layer reads; says which, and in which batch.
            BadInput: a batch does not fit the model.
        """
        totals: list[Any] = []
        for number, (x, _, _) in enumerate(batches):
            with explained(self.graph.model, (x, None, None)):
                x = keras.tree.map_structure(tf.convert_to_tensor, x)
                check_finite(self.forward.inputs(x))
                found = keras.tree.map_structure(lambda sums: sums.numpy(), self._first_look(x))
            self._check_sums(found, number)
            totals = keras.tree.map_structure(np.add, totals, found) if totals else found
            if progress is not None:
                progress.add(1)
        for fits, of_sites in zip(self._fits, totals, strict=True):
            for fit, sums in zip(fits, of_sites, strict=True):
                fit.solve(sums)

    def __call__(self, x: Any, y: Any, weight: Any, number: int = 0) -> Record:
        """What one batch tells.

        Args:
            x: inputs, as `fit` takes them.
            y: labels, or None where no statistic needs them.
            weight: sample weights, or None.
            number: of the batch, for errors.

        Raises:
            NonFiniteScores: NaN or infinity in a statistic; says which, in which layers, and in which batch.
            BadInput: the batch does not fit the model.
        """
        x, y, weight = keras.tree.map_structure(lambda a: None if a is None else tf.convert_to_tensor(a), (x, y, weight))
        check_finite(self.forward.inputs(x))
        columns: Columns = {}
        for run in self._passes:
            columns |= self._scaled(run, x, y, weight)
        self._check(columns, number)
        found = {one.name: one.from_batch(columns, self.forward.sites, y) for one in self._statistics}
        return replace(self._constant, statistics={**self._constant.statistics, **found})

    def _scaled(self, run: Pass, x: Any, y: Any, weight: Any) -> Columns:
        found = {name: value.numpy() for name, value in run(x, y, weight, tf.constant(self._scale)).items()}
        if self._scale != 1.0 and not all(np.isfinite(value).all() for value in found.values()):
            self._scale = 1.0  # the scale that keeps small gradients was too much for large ones
            return self._scaled(run, x, y, weight)
        return found

    def _check(self, columns: Columns, number: int) -> None:
        """Raise `NonFiniteScores` if there is NaN or infinity in what batch `number` gave."""
        sites = self.forward.sites
        per_channel = {one.name for one in self._statistics if one.per_channel}
        for name, value in columns.items():
            wrong = ~np.isfinite(value).reshape(-1, value.shape[-1]).all(axis=0)
            if wrong.any():
                where = np.isin(sites.columns, np.flatnonzero(wrong)) if name in per_channel else wrong
                raise self._not_finite(f"Statistic {name!r}", sites.names_where(where), number)

    def _check_sums(self, found: Sequence[Sequence[Sequence[Any]]], number: int) -> None:
        """Raise `NonFiniteScores` if there is NaN or infinity in what a first look at batch `number` gave."""
        names = [
            site.name
            for of_sites in found
            for site, sums in zip(self.forward.sites, of_sites, strict=True)
            if not all(np.isfinite(one).all() for one in sums)
        ]
        if names:
            raise self._not_finite("Activations", names, number)

    def _not_finite(self, what: str, layers: list[str], number: int) -> NonFiniteScores:
        layers = layers_with_nan(self.graph) or layers
        return NonFiniteScores(
            f"{what} must be finite. Received: NaN or infinity in {listed(layers, what='more layers')}, in batch {number}. "
            f"{CHECK_FOR_NAN}"
        )

    def _sums(self, x: Any) -> list[list[Sequence[Any]]]:
        """One pass forward: what the fits of all sites add up of a batch."""
        inputs = self.forward.inputs(x)
        batch = tf.shape(inputs[0])[0]
        found: list[list[Sequence[Any]]] = [[() for _ in fits] for fits in self._fits]

        def read(number: int, site: ReadSite, x: Any) -> Any:
            values = by_example(tf.cast(x, tf.float32), site.axis, batch)
            for fits, of_sites in zip(self._fits, found, strict=True):
                of_sites[number] = fits[number].sums(values)
            return x

        self.forward.run(inputs, read)
        return found

    def _pass(self, x: Any, y: Any, weight: Any, scale: Any) -> Columns:
        """One pass forward, and as many back as the statistics ask for."""
        inputs = self.forward.inputs(x)
        batch = tf.shape(inputs[0])[0]
        probes = {name: [tf.zeros((batch, len(site.channels))) for site in self.forward.sites] for name in self._probes}
        seen: defaultdict[str, list[Any]] = defaultdict(list)

        def read(number: int, site: ReadSite, x: Any) -> Any:
            for name, value in self._at_site(x, site, batch).items():
                seen[name].append(value)
            return probed(x, site.axis, [(at[number], probes[name][number]) for name, at in self._probes.items()])

        with tf.GradientTape(persistent=True, watch_accessed_variables=False) as tape:
            tape.watch(probes)
            outputs = self.forward.run(inputs, read)
            back = Backward(self.forward, tape, probes, outputs, x, y, weight, scale, self.draws)
            needs_loss = any(one.source == LOSS for one in self._statistics)
            loss = back.loss(self.forward.objectives.summed) if needs_loss else None
            targets = [one.target(back) for one in self._backward]
        columns = {name: tf.concat(parts, 1) for name, parts in seen.items()}
        degrees = {one.probe: one.degree for one in self._gradients}
        if degrees:
            found = back.slopes(loss, what=list(degrees))
            columns |= {name: value / scale ** (degrees[name] - 1) for name, value in found.items()}
        return columns | {one.name: one.measure(back, target) for one, target in zip(self._backward, targets, strict=True)}

    def _at_site(self, x: Any, site: ReadSite, batch: Any) -> Columns:
        """What the statistics of activations record at one site."""
        if not self._read:
            return {}
        values = by_example(tf.cast(x, tf.float32), site.axis, batch)
        return {name: value for one in self._read for name, value in one.at_site(values).items()}
