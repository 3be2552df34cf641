"""`Forward`: the pass through a model in inference that statistics are recorded in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from keras_taylor._keras.losses import Objective, Objectives, applied
from keras_taylor._keras.model import feed
from keras_taylor._keras.program import Call, Running
from keras_taylor._record.folded_batchnorm import FoldedInference
from keras_taylor._trace.graph import ChannelGraph
from keras_taylor._trace.read_sites import ReadSite, ReadSites
from keras_taylor.errors import BadInput


@dataclass(frozen=True, eq=False)
class Forward:
    """How one model runs while it is recorded.

    Attributes:
        graph: of the model.
        sites: where channels are read.
        infer: how a call is computed.
        objectives: the losses.
    """

    graph: ChannelGraph
    sites: ReadSites
    infer: Running
    objectives: Objectives

    @classmethod
    def of(cls, graph: ChannelGraph, objectives: Objectives) -> Forward:
        """The forward pass with the weights as they are now; BatchNormalization is folded where it can be."""
        return cls(graph, ReadSites(graph), FoldedInference(graph), objectives)

    def inputs(self, x: Any) -> list[Any]:
        """The inputs of a batch in the order of the model's inputs."""
        return feed(self.graph.model, x)

    def run(self, inputs: Sequence[Any], read: Callable[[int, ReadSite, Any], Any]) -> list[Any]:
        """The model's outputs, in a list.

        Args:
            inputs: one tensor per input of the model.
            read: called with the number of a site, the site and the tensor that it reads; what it returns is read instead.
        """
        numbers = {key: number for number, key in enumerate(self.sites.by_call)}

        def call(call: Call, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            if id(call) in numbers:
                number = numbers[id(call)]
                args = (read(number, self.sites.by_call[id(call)], args[0]), *args[1:])
            return self.infer(call, args, kwargs)

        return list(self.graph.program.run(inputs, call))

    def loss(self, objective: Objective, x: Any, y: Any, outputs: Sequence[Any], weight: Any) -> Any:
        """One of the objectives, of the model's outputs in a list."""
        return applied(objective, self.graph.model, x, y, outputs, weight)


def check_finite(arrays: list[Any]) -> None:
    """Raise `BadInput` unless the inputs of a batch are finite."""
    for array in arrays:
        if array.dtype.is_floating and not bool(tf.reduce_all(tf.math.is_finite(array))):
            raise BadInput("Inputs must be finite. Received: NaN or infinity.")
