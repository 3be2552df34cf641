"""How far a small model is from its original on examples that it was not repaired on, and which of two is better."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from keras_taylor._keras.heads import output_kinds
from keras_taylor._keras.program import infer
from keras_taylor._repair.stepwise_run import Batches
from keras_taylor._trace.graph import ChannelGraph


class Judging:
    """The outputs of the original on held-back examples, and how far small models are from them.

    Args:
        graph: of the original.
        batches: the held-back examples, inputs of the model.
    """

    def __init__(self, graph: ChannelGraph, batches: Batches) -> None:
        self._batches = batches
        self._classes = are_classes(graph.model)
        self._expected = _outputs(graph, batches)

    def distance(self, small: ChannelGraph) -> tuple[float, float]:
        """Mean squared difference relative to the variance of the original's outputs, and top-1 agreement."""
        return _distance(self._expected, _outputs(small, self._batches))

    def badness(self, error: float, agreement: float) -> tuple[float, float]:
        """What the better of two small models has less of: where outputs are classes, agreement decides, else the error."""
        return (-agreement if self._classes else 0.0, error)

    def judge(self, small: ChannelGraph) -> Any:
        """A function that says how bad the small model is now: its error, which is less noisy than agreement on few examples.

        It runs the model compiled.
        """
        run = tf.function(lambda batch: small.program.run(batch, infer))

        def judge() -> tuple[float, ...]:
            columns = zip(*([np.asarray(y, np.float64) for y in run(batch)] for batch in self._batches), strict=True)
            return _distance(self._expected, [np.concatenate(column) for column in columns])[:1]

        return judge


def are_classes(model: Any) -> bool:
    """Whether a softmax, or the compiled loss, tells that all outputs are classes, so that agreement is what counts."""
    return set(output_kinds(model)) <= {"softmax", "logits"}


def _outputs(graph: ChannelGraph, batches: Batches) -> list[Any]:
    parts = [[np.asarray(y, np.float64) for y in graph.program.run(batch, infer)] for batch in batches]
    return [np.concatenate(column) for column in zip(*parts, strict=True)]


def _distance(expected: Sequence[Any], received: Sequence[Any]) -> tuple[float, float]:
    """Mean squared difference relative to the variance of the expected outputs, and top-1 agreement; means over outputs."""
    errors, agreements = [], []
    for a, b in zip(expected, received, strict=True):
        spread = float(((a - a.mean(axis=0)) ** 2).mean()) or float((a**2).mean()) or 1.0
        errors.append(float(((a - b) ** 2).mean()) / spread)
        if a.shape[-1] > 1:
            agreements.append(float((a.argmax(-1) == b.argmax(-1)).mean()))
    error = float(np.mean(errors))
    return error if math.isfinite(error) else math.inf, float(np.mean(agreements)) if agreements else math.nan
