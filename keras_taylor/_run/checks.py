"""Checks that come before any work: of the target, the constraints and the data."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from keras_taylor._keras.batch_check import check_batch
from keras_taylor._keras.batches import infinite, peek
from keras_taylor._keras.forms import is_infinite
from keras_taylor._keras.model import trains_on_labels
from keras_taylor._plan.constraints import Constraints, check_names
from keras_taylor._plan.plan import check_counted, decide
from keras_taylor._plan.target import LATENCY, Target
from keras_taylor._repair.methods import Auto, methods_for
from keras_taylor._run.recipe import Recipe
from keras_taylor._score.scores import Scores
from keras_taylor._trace.graph import ChannelGraph
from keras_taylor.criteria import criterion_for
from keras_taylor.errors import BadInput
from keras_taylor.quantizers import quantizer_for


def check_feasible(graph: ChannelGraph, target: Target, constraints: Constraints) -> None:
    """Raise `InfeasibleTarget`, `UnknownName` or `BadInput` before any data is read and anything is timed."""
    check_names(graph, constraints)
    check_counted(graph, target)
    quantizer_for(target.quantizer)
    others = target.absolute({**graph.cost.totals(), LATENCY: 0})
    others.pop(LATENCY, None)
    scores = Scores(graph, np.zeros(graph.channels))
    decide(scores, others, constraints, rank="saving", cost=graph.cost, asked=target)


def check_data(model: Any, data: Any, recipe: Recipe, *, loss: Any = None, trains: bool = False) -> None:
    """Raise `BadInput` for data that are empty, can be read only once, lack what the recipe needs, or do not fit the model.

    Args:
        model: that is pruned.
        data: training data, or None.
        recipe: how it is pruned.
        loss: used instead of the compiled one.
        trains: whether the model is trained on them, so that there must be labels.
    """
    _check_rereadable(data, "x")
    if data is None:
        if recipe.repair is not None and not isinstance(methods_for(recipe.repair), Auto):
            raise BadInput("x must be given to repair. Received: None. Pass inputs; they need no labels.")
        return
    if recipe.examples is None and is_infinite(data):
        raise infinite(data, "recipe=kt.Recipe(examples=1000)")
    _check_first(model, data, "x", loss, needs_labels=trains, uses_labels=trains or criterion_for(recipe.criterion).needs_loss)


def check_validation(model: Any, data: Any) -> None:
    """Raise `BadInput` unless validation data can be read again, have the labels that the loss needs, and fit the model."""
    if data is None:
        return
    _check_rereadable(data, "validation_data")
    needs_labels = not model.compiled or trains_on_labels(model)
    _check_first(model, data, "validation_data", None, needs_labels=needs_labels, uses_labels=model.compiled)


def _check_rereadable(data: Any, name: str) -> None:
    if isinstance(data, Iterator):
        raise BadInput(
            f"{name} must be readable more than once. Received: a {type(data).__name__}. Pass arrays, a tf.data.Dataset "
            "(tf.data.Dataset.from_generator), a PyDataset or a list of batches."
        )


def _check_first(model: Any, data: Any, name: str, loss: Any, *, needs_labels: bool, uses_labels: bool) -> None:
    x, y, weight = peek(data, name)
    if needs_labels and y is None:
        raise BadInput(f"{name} must have labels. Received: inputs alone. Pass (x, y), or a data set that yields both.")
    check_batch(model, (x, y if uses_labels else None, weight), loss, name)
