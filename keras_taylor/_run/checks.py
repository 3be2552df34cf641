"""Checks that come before any work: of the target, the constraints and the data."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from keras_taylor._keras.batches import infinite, peek
from keras_taylor._keras.forms import is_infinite
from keras_taylor._plan.constraints import Constraints, check_names
from keras_taylor._plan.plan import check_counted, decide
from keras_taylor._plan.target import LATENCY, Target
from keras_taylor._run.recipe import Recipe
from keras_taylor._score.scores import Scores
from keras_taylor._trace.graph import ChannelGraph
from keras_taylor.errors import BadInput, shown
from keras_taylor.quantizers import quantizer_for


def check_target(target: Any) -> None:
    """Raise `BadInput`, saying what to write, unless `target` is one (a bare number is not)."""
    if not isinstance(target, Target):
        raise BadInput(f"target must be a kt.Target. Received: {shown(target)}. Write target=kt.Target(macs=0.5).")


def check_feasible(graph: ChannelGraph, target: Target, constraints: Constraints) -> None:
    """Raise `InfeasibleTarget`, `UnknownName` or `BadInput` before any data is read and anything is timed."""
    check_names(graph, constraints)
    check_counted(graph, target)
    quantizer_for(target.quantizer)
    others = target.absolute({**graph.cost.totals(), LATENCY: 0})
    others.pop(LATENCY, None)
    scores = Scores(graph, np.zeros(graph.channels))
    decide(scores, others, constraints, rank="saving", cost=graph.cost, asked=target)


def check_data(data: Any, recipe: Recipe, *, labels: bool = False) -> None:
    """Raise `BadInput` for data that are empty, can be read only once, or lack what the recipe needs."""
    if isinstance(data, Iterator):
        raise BadInput(
            f"data must be readable more than once. Received: a {type(data).__name__}. Pass arrays, a tf.data.Dataset "
            "(tf.data.Dataset.from_generator), a PyDataset or a list of batches."
        )
    if data is None:
        if recipe.repair not in (None, "auto"):
            raise BadInput("x must be given to repair. Received: None. Pass inputs; they need no labels.")
        return
    if recipe.examples is None and is_infinite(data):
        raise infinite(data, "recipe=kt.Recipe(examples=1000)")
    labelled, _ = peek(data)
    if labels and not labelled:
        raise BadInput("data must have labels. Received: inputs alone. Pass x and y, or a data set that yields (x, y).")


def check_validation(data: Any) -> None:
    """Raise `BadInput` unless validation data have labels."""
    if hasattr(data, "shape"):
        raise BadInput("validation_data must have labels. Received: one array. Pass (x, y) or a data set that yields (x, y).")
