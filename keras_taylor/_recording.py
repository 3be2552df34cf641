"""Record what every channel contributes to the loss, example by example, leaving nothing behind on the model."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from scipy.sparse import csr_array

from keras_taylor._data import Batch
from keras_taylor._flatten import Call, functional, infer
from keras_taylor._gate import TaylorGate, make_gates
from keras_taylor._graph import ChannelGraph
from keras_taylor._loss import Objective
from keras_taylor.criteria import Filters, Record
from keras_taylor.errors import BadInput

# float16 gradients of single examples underflow without it; a power of two, so dividing it out is exact.
_HALF_SCALE = 2.0**12


def record(model: Any, graph: ChannelGraph, objective: Objective, data: Iterable[Batch]) -> Iterator[Record]:
    """One `Record` per batch, with contributions.

    Runs the model in inference (`training=False`): forward, and backward to activations only; no gradient of a weight is
    computed, no statistic of the model changes.
    """
    step = _Step(model, graph, objective)
    positions = map_sizes(graph)
    empty = np.empty((0, graph.channels))
    for x, y, weight in data:
        recorded = step(x, y, weight)
        contribution = np.asarray(recorded @ step.to_channels) if recorded.shape[1] else empty
        yield Record(graph.channels, positions, contribution, ())


def weights(graph: ChannelGraph) -> Record:
    """The one `Record` of the criteria that need no data: the kernels of all producers."""
    born = {name: ids for ids, name in graph.births}
    filters = []
    for step in graph.steps:
        for name, words in step.rule.weight_axes(step.call.operation).items():
            axes = words.split()
            if name in step.rule.kernels and "out" in axes and step.call.name in born:
                kernel = np.moveaxis(getattr(step.call.operation, name).numpy(), axes.index("out"), -1)
                kernel = kernel.reshape(-1, kernel.shape[-1]).astype(float)
                if kernel.shape[-1] != len(born[step.call.name]):
                    continue  # refused: its labels are not its filters
                filters.append(Filters(kernel, graph.channel[born[step.call.name]]))
    return Record(graph.channels, map_sizes(graph), np.empty((0, graph.channels)), tuple(filters))


def map_sizes(graph: ChannelGraph) -> NDArray[np.float64]:
    """Positions of each channel's map where it is born (the largest among tied ones); an unknown length counts as 1."""
    sizes = np.ones(graph.channels)
    steps = {step.call.name: step for step in graph.steps}
    for ids, name in graph.births:
        axis, shape = steps[name].outputs[0].axis, steps[name].call.outputs[0].shape
        size = math.prod(d or 1 for a, d in enumerate(shape) if a not in (0, axis))
        np.maximum.at(sizes, graph.channel[ids], size)
    return sizes


class _Step:
    """The compiled recording step of one model.

    Attributes:
        to_channels: sparse matrix that sums the recorded columns (one per gated position) into channels.
    """

    def __init__(self, model: Any, graph: ChannelGraph, objective: Objective) -> None:
        self.graph = graph
        self.objective = objective
        self.source = functional(model)
        gates = make_gates(graph)
        read = {id(step.call.operation): step.inputs[0].ids for step in graph.steps if step.consumes}
        self.gates: list[tuple[TaylorGate, int]] = [(gates[key], len(ids)) for key, ids in read.items()]
        self.by_layer = gates
        columns = graph.channel[np.concatenate(list(read.values()))] if read else np.empty(0, np.int64)
        shape = (len(columns), graph.channels)
        self.to_channels = csr_array((np.ones(len(columns)), (np.arange(len(columns)), columns)), shape=shape)
        half = any(layer.compute_dtype == "float16" for layer in model._flatten_layers())
        self.scale = _HALF_SCALE if half else 1.0
        self._run = tf.function(self._record, reduce_retracing=True)

    def __call__(self, x: Any, y: Any, weight: Any) -> NDArray[np.float64]:
        """Contributions of one batch, shape `(batch, gated positions)`."""
        x, y, weight = keras.tree.map_structure(lambda a: None if a is None else tf.convert_to_tensor(a), (x, y, weight))
        self._check(self.source._standardize_inputs(x))
        if not self.gates:
            return np.empty((0, 0))
        found = np.asarray(self._run(x, y, weight, tf.constant(self.scale)).numpy(), np.float64) / self.scale
        if self.scale != 1.0 and not np.isfinite(found).all():
            self.scale = 1.0  # the scale that keeps small gradients was too much for large ones
            return self(x, y, weight)
        return found

    def _check(self, arrays: list[Any]) -> None:
        expected = [tensor.shape for tensor in self.graph.program.inputs]
        for array, shape in zip(arrays, expected, strict=False):
            same_rank = len(array.shape) == len(shape)
            if same_rank and any(n not in (None, m) for n, m in zip(shape[1:], array.shape[1:], strict=True)):
                raise BadInput(f"data must have the model's input shape {shape}. Received: {tuple(array.shape)}.")
            if array.dtype.is_floating and not bool(tf.reduce_all(tf.math.is_finite(array))):
                raise BadInput("data must be finite. Received: NaN or infinity in the inputs.")

    def _record(self, x: Any, y: Any, weight: Any, scale: Any) -> Any:
        inputs = self.source._standardize_inputs(x)
        batch = tf.shape(inputs[0])[0]
        with ExitStack() as stack:
            tape = stack.enter_context(tf.GradientTape(watch_accessed_variables=False))
            probes = [stack.enter_context(gate.recording(batch, channels)) for gate, channels in self.gates]
            tape.watch(probes)
            outputs = self.graph.program.run(inputs, self._call)
            y_pred = keras.tree.pack_sequence_as(self.source._outputs_struct, outputs)
            if isinstance(y_pred, list) and len(y_pred) == 1:
                y_pred = y_pred[0]
            loss = tf.cast(self.objective(x, y, y_pred, weight), tf.float32) * scale
        found = tape.gradient(loss, probes, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        return tf.concat(found, axis=1)

    def _call(self, call: Call, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        gate = self.by_layer.get(id(call.operation))
        return gate(*args, **kwargs) if gate is not None else infer(call, args, kwargs)
