"""Record statistics of every channel, example by example, in one pass over the data; nothing is left behind on the model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from keras_taylor._keras.batches import Batch, class_indices
from keras_taylor._keras.heads import LogitSpace
from keras_taylor._keras.losses import Objective, Objectives, applied
from keras_taylor._keras.model import feed, layers_of
from keras_taylor._keras.program import Call, functional
from keras_taylor._record import weight_statistics
from keras_taylor._record.folded_batchnorm import FoldedInference
from keras_taylor._record.gate import by_example, probed
from keras_taylor._record.gauss_newton import GaussNewton
from keras_taylor._record.hutchinson import Hutchinson
from keras_taylor._record.logit_change import linear_change
from keras_taylor._trace.broken_weights import broken_weights
from keras_taylor._trace.graph import ChannelGraph
from keras_taylor._trace.read_sites import ReadSites
from keras_taylor.criteria import Record
from keras_taylor.criteria._base import FROM_LOSS, FROM_WEIGHTS
from keras_taylor.errors import BadInput, NonFiniteScores

# float16 gradients of single examples underflow without it; a power of two, so dividing it out is exact.
_HALF_SCALE = 2.0**12

Columns = dict[str, Any]

# What else than the contribution probes record, and the statistic that it makes.
_PROBED = {"absolute": "absolute_positions", "gradient": "gradient", "gradient_square": "gradient_square"}


def from_weights(graph: ChannelGraph, needs: frozenset[str]) -> Record:
    """The one `Record` of the criteria that need no data."""
    statistics = {name: getattr(weight_statistics, name)(graph) for name in needs & FROM_WEIGHTS}
    return Record(graph.channels, weight_statistics.map_sizes(graph), [group.channels for group in graph.groups], statistics)


def record(recorder: Recorder, data: Iterable[Batch]) -> Iterator[Record]:
    """One `Record` per batch.

    Runs the model in inference (`training=False`): forward, and backward to activations only; no gradient of a weight is
    computed, no statistic of the model changes.

    Raises:
        NonFiniteScores: NaN or infinity in a statistic; says which, in which layers, and in which batch.
    """
    graph = recorder.graph
    constant = from_weights(graph, recorder.needs)
    for number, (x, y, weight) in enumerate(data):
        found = recorder(x, y, weight)
        recorder.check(found, number)
        statistics = {**constant.statistics, **recorder.by_channel(found)}
        if "labels" in recorder.needs:
            statistics["labels"] = _classes(y)
        yield replace(constant, statistics=statistics)


def _classes(y: Any) -> NDArray[np.int64]:
    if y is None or keras.tree.is_nested(y):
        raise BadInput("data must have one class per example for this criterion. Received: no labels, or several.")
    labels = class_indices(y)
    if labels.size != len(labels):
        raise BadInput(f"data must have one class per example for this criterion. Received: labels of shape {labels.shape}.")
    return labels.reshape(-1).astype(np.int64)


def check_inputs(graph: ChannelGraph, arrays: list[Any]) -> None:
    """Raise `BadInput` unless a batch has the shapes that the model takes, and finite numbers."""
    expected = [tensor.shape for tensor in graph.program.inputs]
    for array, shape in zip(arrays, expected, strict=False):
        same_rank = len(array.shape) == len(shape)
        if same_rank and any(n not in (None, m) for n, m in zip(shape[1:], array.shape[1:], strict=True)):
            raise BadInput(f"data must have the model's input shape {shape}. Received: {tuple(array.shape)}.")
        if array.dtype.is_floating and not bool(tf.reduce_all(tf.math.is_finite(array))):
            raise BadInput("data must be finite. Received: NaN or infinity in the inputs.")


class Recorder:
    """The compiled recording step of one model.

    Args:
        graph: of the model to record.
        needs: names of statistics; only these are computed.
        objectives: the losses.
        draws: of labels and directions, for estimates.
        seed: for the directions.
    """

    def __init__(
        self,
        graph: ChannelGraph,
        needs: frozenset[str],
        objectives: Objectives,
        draws: int = 1,
        seed: int = 0,
    ) -> None:
        self.graph = graph
        self.needs = needs
        self.objectives = objectives
        self.draws = draws
        self.sites = ReadSites(graph)
        self.source = functional(graph.model)
        self.infer = FoldedInference(graph)
        self.outputs = LogitSpace(objectives.kinds)
        self.curvature = GaussNewton(self.outputs, self.sites)
        self.gated = Hutchinson(self, draws, seed) if "hutchinson" in needs else None
        half = any(layer.compute_dtype == "float16" for layer in layers_of(graph.model))
        self.scale = _HALF_SCALE if half else 1.0
        self._run = tf.function(self._measure, reduce_retracing=True)

    def __call__(self, x: Any, y: Any, weight: Any) -> Columns:
        """What one batch gives: `(batch, columns of the sites)` for most statistics, `(batch, channels)` for curvatures."""
        x, y, weight = keras.tree.map_structure(lambda a: None if a is None else tf.convert_to_tensor(a), (x, y, weight))
        check_inputs(self.graph, feed(self.source, x))
        found = self._scaled(self._run, x, y, weight)
        if self.gated is not None:
            found |= self._scaled(self.gated, x, y, weight)
        return found

    def _scaled(self, run: Any, *batch: Any) -> Columns:
        found = {name: value.numpy() for name, value in run(*batch, tf.constant(self.scale)).items()}
        if self.scale != 1.0 and not all(np.isfinite(value).all() for value in found.values()):
            self.scale = 1.0  # the scale that keeps small gradients was too much for large ones
            return self._scaled(run, *batch)
        return found

    def check(self, found: Columns, number: int) -> None:
        """Raise `NonFiniteScores` if there is NaN or infinity in what batch `number` gave."""
        for name, value in found.items():
            wrong = ~np.isfinite(value).all(axis=0)
            if wrong.any():
                of_channels = len(wrong) != len(self.sites.columns)
                columns = np.isin(self.sites.columns, np.flatnonzero(wrong)) if of_channels else wrong
                layers = broken_weights(self.graph) or self.sites.names_where(columns)
                raise NonFiniteScores(
                    f"Statistic {name!r} must be finite. Received: NaN or infinity in {', '.join(layers[:5])}"
                    f"{f' and {len(layers) - 5} more layers' if len(layers) > 5 else ''}, in batch {number}. "
                    "Check the model's weights and the data for NaN, and that the loss is finite on them."
                )

    def by_channel(self, found: Columns) -> dict[str, Any]:
        """Columns put together into channels, shape `(batch, channels)`."""
        sites = self.sites
        made: dict[str, Any] = {name: found[name] for name in ("gauss_newton", "linear_change", "hutchinson") if name in found}
        if "contribution" in found:
            made["contribution"] = sites.to_channels(found["contribution"])
            made["absolute_members"] = sites.absolute_to_channels(found["contribution"])
        made |= {need: sites.to_channels(found[name]) for name, need in _PROBED.items() if name in found}
        if "activation_square" in found:
            made["activation_square"] = sites.to_channels(found["activation_square"])
        if "fisher" in found:
            draws = np.split(found["fisher"], self.draws)
            made["fisher"] = sum(sites.to_channels(draw) ** 2 for draw in draws) / self.draws
        made |= self._moments(found)
        return {name: value for name, value in made.items() if name in self.needs}

    def _moments(self, found: Columns) -> dict[str, Any]:
        """Every value that is read counts once, whichever column it is in."""
        if "positions" not in found:
            return {}
        count = found["positions"].astype(float)
        total = np.maximum(self.sites.to_channels(count), 1.0)
        made = {"zeros": self.sites.to_channels(found["zeros"] * count) / total} if "zeros" in found else {}
        if "mean" in found:
            column = found["mean"].astype(float)
            made["activation"] = mean = self.sites.to_channels(column * count) / total
            if "variance" in found:
                apart = (column - mean[:, self.sites.columns]) ** 2
                made["variance"] = self.sites.to_channels((found["variance"] + apart) * count) / total
        return made

    def _measure(self, x: Any, y: Any, weight: Any, scale: Any) -> Columns:
        inputs = feed(self.source, x)
        batch = tf.shape(inputs[0])[0]
        shapes = [(batch, len(site.channels)) for site in self.sites]
        recorded = ["contribution", *(name for name, need in _PROBED.items() if need in self.needs)]
        probes = {name: [tf.zeros(shape) for shape in shapes] for name in recorded}
        at = [dict(zip(probes, one, strict=True)) for one in zip(*probes.values(), strict=True)]
        taps = dict(zip(self.sites.by_call, zip(self.sites, at, strict=True), strict=True))
        seen: dict[str, list[Any]] = {}

        def call(call: Call, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            if id(call) in taps:
                site, here = taps[id(call)]
                for name, value in self._look(args[0], site.axis, batch).items():
                    seen.setdefault(name, []).append(value)
                args = (probed(args[0], site.axis, here), *args[1:])
            return self.infer(call, args, kwargs)

        with tf.GradientTape(persistent=True, watch_accessed_variables=False) as tape:
            tape.watch(probes)
            outputs = self.graph.program.run(inputs, call)
            loss = self._of_outputs(self.objectives.summed, x, y, outputs, weight) * scale if self.needs & FROM_LOSS else None
            draws = self.draws if "fisher" in self.needs else 0
            sampled = [self._of_outputs(self.objectives.sampled, x, None, outputs, None) * scale for _ in range(draws)]
            natural = self.outputs.to_logits(outputs) if self.needs & {"gauss_newton", "linear_change"} else None

        def gradients(target: Any, names: list[str]) -> Columns:
            sources = {name: probes[name] for name in names}
            slopes = tape.gradient(target, sources, unconnected_gradients=tf.UnconnectedGradients.ZERO)
            return {name: tf.concat(parts, 1) / scale for name, parts in slopes.items()}

        if not self.sites:
            return {}
        found = {name: tf.concat(values, 1) for name, values in seen.items()}
        wanted = recorded if self.needs & {"contribution", "absolute_members"} else recorded[1:]
        if wanted:
            found |= gradients(loss, wanted)
        if "gradient_square" in found:
            found["gradient_square"] /= scale  # it holds the scale twice
        if sampled:
            root = tf.sqrt(_flat_weight(weight)) if weight is not None else 1.0
            found["fisher"] = tf.concat([gradients(one, recorded[:1])["contribution"] * root for one in sampled], 0)
        if "linear_change" in self.needs:

            def losses(x: Any, y: Any, given: list[Any], weight: Any) -> Any:
                return self._of_outputs(self.objectives.of_each, x, y, given, weight)

            found["linear_change"] = linear_change(
                tape, natural, probes["contribution"], self.outputs, self.sites, losses, (x, y, weight), scale
            )
        if "gauss_newton" in self.needs:

            def objective(given: list[Any]) -> Any:
                return self._of_outputs(self.objectives.summed, x, y, given, weight)

            found["gauss_newton"] = self.curvature.gauss_newton(tape, natural, probes["contribution"], objective, scale)
        return found

    def _look(self, x: Any, axis: int, batch: Any) -> Columns:
        """Statistics of the values that one site reads."""
        wanted = self.needs & {"activation", "activation_square", "variance", "zeros"}
        if not wanted:
            return {}
        values = by_example(tf.cast(x, tf.float32), axis, batch)
        found = {"positions": tf.fill((batch, values.shape[-1]), tf.cast(tf.shape(values)[1], tf.float32))}
        if wanted & {"activation", "variance"}:
            found["mean"] = tf.reduce_mean(values, 1)
        if "variance" in wanted:
            found["variance"] = tf.reduce_mean((values - found["mean"][:, None]) ** 2, 1)
        if "activation_square" in wanted:
            found["activation_square"] = tf.reduce_sum(values**2, 1)
        if "zeros" in wanted:
            found["zeros"] = tf.reduce_mean(tf.cast(values == 0, tf.float32), 1)
        return found

    def _of_outputs(self, objective: Objective, x: Any, y: Any, outputs: list[Any], weight: Any) -> Any:
        return applied(objective, self.source, x, y, outputs, weight)


def _flat_weight(weight: Any) -> Any:
    parts = keras.tree.flatten(weight)
    if len(parts) > 1:
        raise BadInput("sample_weight must be one array for the Fisher information. Received: one for each output.")
    return tf.reshape(tf.cast(parts[0], tf.float32), (-1, 1))
