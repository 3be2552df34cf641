"""A graph cut into the parts that LiteRT runs as one or two operations, each a small model of any width.

A segment is a kernel, or an operation on several tensors, with all that follows it alone: normalisation and activation, which
the converter fuses into the kernel, and pooling or padding.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from keras_taylor._keras.program import Tensor
from keras_taylor._trace.graph import ChannelGraph
from keras_taylor.rules import Ids, Keep, Step

_UNKNOWN = 32  # the length that an unknown one is timed with


@dataclass(frozen=True, eq=False)
class Segment:
    """Steps that follow each other, and nothing else reads what passes between them."""

    steps: tuple[Step, ...]

    @property
    def name(self) -> str:
        """Name of the first call."""
        return self.steps[0].call.name

    @property
    def ins(self) -> Ids:
        """The labels of the first input."""
        inputs = self.steps[0].inputs
        return inputs[0].ids if inputs else np.empty(0, np.int64)

    @property
    def outs(self) -> Ids:
        """The labels that the first step puts out."""
        return self.steps[0].outputs[0].ids

    def recipe(self, keep: Keep) -> str:
        """All that the time of the segment depends on, with the labels that `keep` leaves, as JSON text."""
        made = []
        for step in self.steps:
            config, arguments = _remade(step, keep)
            config.pop("name", None)
            static = keras.tree.map_structure(lambda leaf: "tensor" if isinstance(leaf, Tensor) else leaf, arguments)
            made.append([type(step.call.operation).__name__, config, repr(static)])
        return json.dumps([self._shapes(keep), made], default=str, sort_keys=True)

    def model(self, keep: Keep) -> Any:
        """The segment alone, with the labels that `keep` leaves and fresh weights."""
        values: dict[int, Any] = {}
        for tensor, shape in zip(self._tensors(), self._shapes(keep), strict=True):
            values[tensor.index] = keras.Input(shape, dtype=tensor.dtype)
        inputs = list(values.values())
        for step in self.steps:
            config, (args, kwargs) = _remade(step, keep)
            args, kwargs = keras.tree.map_structure(
                lambda leaf: values[leaf.index] if isinstance(leaf, Tensor) else leaf, (args, kwargs)
            )
            copy = type(step.call.operation).from_config(config)
            found = keras.tree.flatten(copy(*args, **kwargs))
            step.rule.inherit(step.call.operation, copy)
            values.update((tensor.index, value) for tensor, value in zip(step.call.outputs, found, strict=True))
        return keras.Model(inputs, [values[tensor.index] for tensor in self.steps[-1].call.outputs])

    def _tensors(self) -> list[Tensor]:
        return list({tensor.index: tensor for tensor in self.steps[0].call.inputs}.values())

    def _shapes(self, keep: Keep) -> list[list[int]]:
        labels = dict(zip((t.index for t in self.steps[0].call.inputs), self.steps[0].inputs, strict=True))
        shapes = []
        for tensor in self._tensors():
            shape = [_UNKNOWN if d is None else d for d in tensor.shape]
            given = labels[tensor.index]
            if given.axis is not None:
                shape[given.axis] = len(given.kept(keep))
            shapes.append(shape[1:])
        return shapes


def cut(graph: ChannelGraph) -> list[Segment]:
    """The segments of a graph, in the order of their first calls."""
    uses = Counter(tensor.index for step in graph.steps for tensor in step.call.inputs)
    uses.update(tensor.index for tensor in graph.program.outputs)
    readers = {tensor.index: step for step in graph.steps for tensor in step.call.inputs}
    segments: list[Segment] = []
    taken: set[int] = set()
    for step in graph.steps:
        if id(step) in taken:
            continue
        chain = [step]
        while len(chain[-1].call.outputs) == 1 and uses[tensor := chain[-1].call.outputs[0].index] == 1 and tensor in readers:
            after = readers[tensor]
            if after.rule.kernels or len(after.call.inputs) != 1:
                break
            chain.append(after)
        taken.update(id(one) for one in chain)
        segments.append(Segment(tuple(chain)))
    return segments


def _remade(step: Step, keep: Keep) -> tuple[dict[str, Any], tuple[tuple[Any, ...], dict[str, Any]]]:
    """Config and arguments of a step with the labels that `keep` leaves; the arguments still hold `Tensor`s."""
    remake, call = step.rule.remake(step, keep), step.call
    args = tuple(remake.arguments.get(i, arg) for i, arg in enumerate(call.args))
    kwargs = {name: remake.arguments.get(name, arg) for name, arg in call.kwargs.items()}
    return {**call.operation.get_config(), **remake.config}, (args, kwargs)
