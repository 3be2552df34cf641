"""Inference with BatchNormalization folded into the layer before it: fewer tensors to compute, and to go back through."""

from __future__ import annotations

from collections import Counter
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_taylor._keras.program import Call, infer
from keras_taylor._trace.graph import ChannelGraph
from keras_taylor.rules import Linear, Step


class FoldedInference:
    """Runs calls as `infer` does, on the weights as they are when this is made.

    A linear layer that only a BatchNormalization reads is run with another kernel and bias, so that it computes the output of
    the BatchNormalization, which then adds what is left to add, if anything. All outputs are those of `infer` up to rounding,
    but for what passes between the two layers. In other precisions than float32, where rounding counts, nothing is folded.

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
            # Axes are known only if it normalises along the channels.
            if not isinstance(step.call.operation, keras.layers.BatchNormalization) or not step.axes:
                continue
            given = step.call.inputs[0].index
            before = born.get(given)
            if before is None or readers[given] > 1 or any(uses[id(one.call.operation)] > 1 for one in (before, step)):
                continue
            linear = _linear(before)
            if linear is not None and step.call.operation.compute_dtype == "float32":
                self._fold(before.call, linear, step.call)

    def __call__(self, call: Call, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The outputs of one call."""
        if id(call) in self.shifts:
            shift = self.shifts[id(call)]
            return args[0] if shift is None else keras.ops.add(args[0], shift)
        if id(call) not in self._weights:
            return infer(call, args, kwargs)
        with keras.StatelessScope(state_mapping=self._weights[id(call)]):
            return infer(call, args, kwargs)

    def _fold(self, before: Call, linear: Linear, call: Call) -> None:
        norm, operation = call.operation, before.operation
        with np.errstate(all="ignore"):  # of broken statistics: what reads the outputs finds NaN and names the layer
            scale = 1 / np.sqrt(norm.moving_variance.numpy().astype(float) + norm.epsilon)
        scale *= norm.gamma.numpy() if norm.scale else 1.0
        shift = (norm.beta.numpy() if norm.center else 0.0) - norm.moving_mean.numpy() * scale
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
            shape[norm.axis] = -1
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
    plain = operation.activation is None or operation.activation is keras.activations.linear
    return linear if plain and getattr(operation, "quantization_mode", None) is None else None
