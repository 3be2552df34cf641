"""Whether a model does not mind that its inputs are moved, so that it can teach at moved ones."""

from __future__ import annotations

from typing import Any

import numpy as np

from keras_taylor._keras.batches import batches
from keras_taylor._keras.extra_loss import Change
from keras_taylor._keras.model import feed
from keras_taylor._keras.program import infer
from keras_taylor._trace.graph import ChannelGraph

_EXAMPLES = 512
_MOST = 0.5


def is_invariant(graph: ChannelGraph, data: Any, change: Change, *, batch_size: int, seed: int) -> bool:
    """Whether what a model puts out for changed inputs is what it puts out for the given ones, by and large.

    That is, whether the mean squared difference is at most half of the variance of the outputs, as a mean over outputs. A net
    that was trained on mirrored images passes; one that reads digits does not, and would spend its channels on mirrored digits.

    Args:
        graph: of the model.
        data: as `fit` takes them; labels are not looked at.
        change: of a batch of inputs, a flat list.
        batch_size: for arrays.
        seed: of the sample.
    """
    given, changed = [], []
    for x, _, _ in batches(data, batch_size=batch_size, examples=_EXAMPLES, seed=seed, labels=None):
        inputs = feed(graph.model, x)
        given.append([np.asarray(y, np.float64) for y in graph.program.run(inputs, infer)])
        changed.append([np.asarray(y, np.float64) for y in graph.program.run(change(inputs), infer)])
    errors = []
    for before, after in zip(zip(*given, strict=True), zip(*changed, strict=True), strict=True):
        variance = np.mean([y.var() for y in before])
        error = np.mean([((a - b) ** 2).mean() for a, b in zip(before, after, strict=True)])
        errors.append(error / variance if variance else 0.0)
    return bool(np.mean(errors) <= _MOST)
