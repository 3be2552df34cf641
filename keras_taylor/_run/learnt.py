"""Whether a model has learnt its labels, so that there is something to learn from it."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_taylor._keras.batches import batches, length
from keras_taylor._keras.losses import applied, summed_loss
from keras_taylor._keras.model import feed
from keras_taylor._keras.program import infer
from keras_taylor._trace.graph import ChannelGraph

_EXAMPLES = 512


def has_learnt(graph: ChannelGraph, model: Any, data: Any, *, batch_size: int, seed: int) -> bool:
    """Whether the loss of a model is at most half of what it is with the labels shuffled among the examples.

    That needs no knowledge of what kind of labels they are: who has learnt nothing loses nothing by a shuffle. Where all labels
    of the sample are alike, a shuffle changes nothing, and the model is believed.

    Args:
        graph: of the model.
        model: compiled; its loss is used.
        data: with labels, as `fit` takes them.
        batch_size: for arrays.
        seed: of the sample and of the shuffle.
    """
    objective = summed_loss(model)
    found = list(batches(data, batch_size=batch_size, examples=_EXAMPLES, seed=seed))
    shuffled = _shuffled([y for _, y, _ in found], np.random.default_rng(seed))
    if all(_equal(y, other) for (_, y, _), other in zip(found, shuffled, strict=True)):
        return True
    as_given = with_others = 0.0
    for (x, y, weight), other in zip(found, shuffled, strict=True):
        outputs = graph.program.run(feed(model, x), infer)
        as_given += float(applied(objective, model, x, y, outputs, weight))
        with_others += float(applied(objective, model, x, other, outputs, weight))
    return as_given <= with_others - 0.5 * abs(with_others) and as_given < with_others


def _shuffled(labels: list[Any], rng: np.random.Generator) -> list[Any]:
    """The labels of all batches in another order; in each batch alone, where batches differ in shape."""
    shapes = {tuple(tuple(part.shape[1:]) for part in keras.tree.flatten(y)) for y in labels}
    if len(shapes) > 1:
        return [_rows(y, rng.permutation(length(y))) for y in labels]
    together = keras.tree.map_structure(lambda *parts: tf.concat(parts, 0), *labels)
    rows = rng.permutation(length(together))
    ends = np.cumsum([length(y) for y in labels])[:-1]
    return [_rows(together, mine) for mine in np.split(rows, ends)]


def _equal(labels: Any, others: Any) -> bool:
    pairs = zip(keras.tree.flatten(labels), keras.tree.flatten(others), strict=True)
    return all(np.array_equal(a, b) for a, b in pairs)


def _rows(labels: Any, rows: Any) -> Any:
    return keras.tree.map_structure(lambda part: tf.gather(part, rows), labels)
