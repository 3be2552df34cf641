"""Inference with BatchNormalization folded into the layer before it: fewer tensors to compute, and to go back through."""

from __future__ import annotations

from collections import Counter
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_taylor._keras.program import Call, infer
from keras_taylor._trace.graph import ChannelGraph
from keras_taylor.rules import UNCLIPPED, BatchStatistics, Linear, Step


class FoldedInference:
    """Runs calls as `infer` does, with every BatchNormalization that can be folded in the kernel of the layer before it.

    It can be folded into a layer that computes a matrix product without an activation, and whose outputs nothing else reads.
    That layer then runs with another kernel and another bias, made of the weights as they are when this object is made, and
    gives what the BatchNormalization would. Without a bias, the BatchNormalization still adds its offset. All tensors are equal
    to those of `infer` up to rounding, but for the one between the two. In other precisions than float32, where rounding
    counts, nothing is folded.

    Args:
        graph: of the model.
    """

    def __init__(self, graph: ChannelGraph) -> None:
        self.shifts: dict[int, Any] = {}
        """What each BatchNormalization that is folded still adds, by id of its call; None where a bias adds it."""
        self._weights: dict[int, list[tuple[Any, Any]]] = {}
        calls = graph.program.calls
        readers = Counter(t.index for t in (*(t for call in calls for t in call.inputs), *graph.program.outputs))
        uses = Counter(id(call.operation) for call in calls)
        born = {tensor.index: step for step in graph.steps for tensor in step.call.outputs}
        for step in graph.steps:
            statistics = step.rule.batch_statistics(step.call.operation)
            if statistics is None or not step.axes:  # axes are known only if it normalises along the channels
                continue
            given = step.call.inputs[0].index
            before = born.get(given)
            if before is None or readers[given] > 1 or any(uses[id(one.call.operation)] > 1 for one in (before, step)):
                continue
            linear = _linear(before)
            if linear is not None and step.call.operation.compute_dtype == "float32":
                self._fold(before.call, linear, step.call, statistics)

    def __call__(self, call: Call, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The outputs of one call."""
        if id(call) in self.shifts:
            shift = self.shifts[id(call)]
            return args[0] if shift is None else keras.ops.add(args[0], shift)
        if id(call) not in self._weights:
            return infer(call, args, kwargs)
        with keras.StatelessScope(state_mapping=self._weights[id(call)]):
            return infer(call, args, kwargs)

    def _fold(self, before: Call, linear: Linear, call: Call, statistics: BatchStatistics) -> None:
        operation = before.operation
        with np.errstate(all="ignore"):  # of broken statistics: what reads the outputs finds NaN and names the layer
            scale = 1 / np.sqrt(statistics.variance.numpy().astype(float) + statistics.epsilon)
        scale *= 1.0 if statistics.gamma is None else statistics.gamma.numpy()
        beta = 0.0 if statistics.beta is None else statistics.beta.numpy()
        shift = beta - statistics.mean.numpy() * scale
        variable = getattr(operation, linear.kernel)
        matrix = linear.to_matrix(variable.numpy())
        kernel = linear.from_matrix(variable.numpy(), matrix * scale.reshape(len(matrix), 1, -1))
        self._weights[id(before)] = [(variable, tf.constant(kernel, tf.float32))]
        if operation.bias is not None:
            bias = operation.bias.numpy() * scale + shift
            self._weights[id(before)].append((operation.bias, tf.constant(bias, tf.float32)))
            self.shifts[id(call)] = None
        else:
            shape = [1] * len(call.inputs[0].shape)
            shape[statistics.axis] = -1
            self.shifts[id(call)] = tf.reshape(tf.constant(shift, tf.float32), shape)


def _linear(step: Step) -> Linear | None:
    """How `step` multiplies, if that is all it does."""
    operation, linear = step.call.operation, step.rule.linear(step.call.operation)
    if (
        linear is None
        or operation.compute_dtype != "float32"
        or not isinstance(getattr(operation, linear.kernel), keras.Variable)
    ):
        return None
    plain = step.rule.activation_range(operation) == UNCLIPPED
    return linear if plain and getattr(operation, "quantization_mode", None) is None else None
