"""How far a small model is from its original, at every place where channels are read and at the outputs."""

from __future__ import annotations

import math
import numbers
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_taylor._keras.heads import TO_LOGITS, output_kinds
from keras_taylor._keras.program import Tensor, functional, infer
from keras_taylor._rebuild.rebuild import flat_names
from keras_taylor._record.folded_batchnorm import FoldedInference
from keras_taylor._trace.graph import ChannelGraph
from keras_taylor.errors import BadInput, listed, shown, unknown_name
from keras_taylor.rules import Keep, Step


@dataclass(frozen=True, eq=False)
class Place:
    """A tensor of the original and its twin in the small model.

    Attributes:
        name: of the layer that reads it (the first, if several do), or `"output of head"`.
        original: the original's tensor.
        small: the small model's.
        axis: the axis that channels run along, or None where all positions are compared.
        kept: the positions along `axis` that the small model still has.
        kind: of an output: "softmax" and "sigmoid" are compared before the activation.
        weight: of its distance in the sum.
    """

    name: str
    original: Tensor
    small: Tensor
    axis: int | None
    kept: Any
    kind: str
    weight: float


class Reconstruction:
    """The distance of a small model from its original, batch by batch: nothing is stored.

    At each place it is `|small - original[kept]|^2 / |original[kept]|^2` over the batch. Both models run as in inference, so
    the statistics of BatchNormalization stay what they are.

    Args:
        graph: of the original.
        keep: a boolean per label of `graph`: what the small model still has.
        small: of the small model.
        weights: of the places, by name: 1 where it says nothing.
    """

    def __init__(
        self, graph: ChannelGraph, keep: Keep, small: ChannelGraph, weights: Mapping[str, float] | None = None
    ) -> None:
        self.places = _places(graph, keep, small, weights or {})
        self._graph, self._small = graph, small
        self._folded = FoldedInference(graph)  # the original's weights stay what they are

    def layers(self) -> list[Any]:
        """The layers of the small model, in the order in which they run."""
        found = {id(step.call.operation): step.call.operation for step in self._small.steps}
        return [layer for layer in found.values() if isinstance(layer, keras.Layer)]

    def targets(self, batch: Sequence[Any]) -> list[Any]:
        """What the small model should compute at each place, in float32."""
        found = self._graph.program.run(batch, self._folded, [place.original for place in self.places])
        return [tf.stop_gradient(_kept(_natural(x, one), one)) for x, one in zip(found, self.places, strict=True)]

    def distances(self, batch: Sequence[Any], targets: Sequence[Any]) -> Any:
        """The weighted distance at each place, shape `(places,)`, float32."""
        return self.compared(self._small.program.run(batch, infer, [place.small for place in self.places]), targets)

    def compared(self, values: Sequence[Any], targets: Sequence[Any]) -> Any:
        """The weighted distance at each place of what the small model computes there, shape `(places,)`, float32."""
        parts = []
        for x, target, place in zip(values, targets, self.places, strict=True):
            size = tf.maximum(tf.reduce_sum(tf.square(target)), 1e-12)
            parts.append(place.weight * tf.reduce_sum(tf.square(_natural(x, place) - target)) / size)
        return tf.stack(parts)


def check_weights(graph: ChannelGraph, weights: Mapping[str, float]) -> None:
    """Raise unless every weight is a number from 0 on, of a place where this model is compared with smaller ones.

    Raises:
        UnknownName: no place has this name.
        BadInput: not a number from 0 on.
    """
    known = [step.call.name for step in _first_readers(graph)] + _output_names(graph)
    for name, weight in weights.items():
        if name not in known:
            raise unknown_name("layer of weights", name, known)
        if not isinstance(weight, numbers.Real) or not 0 <= float(weight) < math.inf:
            raise BadInput(f"weights must be numbers from 0 on. Received: {shown(weight)} for {name!r}.")


def _first_readers(graph: ChannelGraph) -> list[Step]:
    """For each tensor whose channels are read, but the model's inputs, the step that reads it first."""
    given = {tensor.index for tensor in graph.program.inputs}
    found: dict[int, Step] = {}
    for step in graph.steps:
        if step.rule.kernels and step.inputs and step.call.inputs[0].index not in given:
            found.setdefault(step.call.inputs[0].index, step)
    return list(found.values())


def _output_names(graph: ChannelGraph) -> list[str]:
    return [f"output of {name}" for name in functional(graph.model).output_names]


def _places(graph: ChannelGraph, keep: Keep, small: ChannelGraph, weights: Mapping[str, float]) -> tuple[Place, ...]:
    check_weights(graph, weights)
    names = flat_names(graph)
    twins: defaultdict[str, list[Step]] = defaultdict(list)
    for step in small.steps:
        twins[step.call.name.split("@")[0]].append(step)
    calls: defaultdict[str, int] = defaultdict(int)
    twin_of = {}
    for step in graph.steps:
        name = names[step.call.name]
        twin_of[id(step)], calls[name] = twins[name][calls[name]], calls[name] + 1
    found = []
    for step in _first_readers(graph):
        labels = step.inputs[0]
        kept = None if labels.axis is None else labels.kept(keep)
        tensors = step.call.inputs[0], twin_of[id(step)].call.inputs[0]
        found.append(Place(step.call.name, *tensors, labels.axis, kept, "", weights.get(step.call.name, 1.0)))
    outputs = zip(_output_names(graph), graph.program.outputs, small.program.outputs, output_kinds(graph.model), strict=True)
    ends = [Place(name, a, b, None, None, kind, weights.get(name, 1.0)) for name, a, b, kind in outputs]
    return (*found, *ends)


def _kept(x: Any, place: Place) -> Any:
    if place.axis is None or len(place.kept) == x.shape[place.axis]:
        return x
    return tf.gather(x, np.asarray(place.kept, np.int32), axis=place.axis)


def _natural(x: Any, place: Place) -> Any:
    """The tensor in float32; of probabilities the logits, up to the constant that a softmax takes off."""
    x = TO_LOGITS.get(place.kind, lambda x: x)(tf.cast(x, tf.float32))
    return x - tf.reduce_mean(x, axis=-1, keepdims=True) if place.kind == "softmax" else x


def not_finite(places: Sequence[Place], targets: Sequence[Any]) -> str:
    """The names of the places where the original puts out NaN or infinity; empty where all is well."""
    wrong = [place.name for place, x in zip(places, targets, strict=True) if not bool(tf.reduce_all(tf.math.is_finite(x)))]
    return listed(wrong, what="more")
