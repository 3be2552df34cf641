"""Checks that come before any work: of the target, the constraints and the data."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from keras_taylor._plan.constraints import Constraints, check_names
from keras_taylor._plan.plan import decide
from keras_taylor._plan.pruning_plan import totals
from keras_taylor._plan.target import LATENCY, Target
from keras_taylor._repair.repair import check_method
from keras_taylor._score.scores import Scores
from keras_taylor._trace.graph import ChannelGraph
from keras_taylor.errors import BadInput
from keras_taylor.quantizers import quantizer_for


def require_target(target: Target | None) -> Target:
    """The target; a missing one, or a bare number, is an error that says what to write."""
    if not isinstance(target, Target):
        raise BadInput(f"target must be a kt.Target. Received: {target!r}. Write target=kt.Target(macs=0.5).")
    return target


def check_feasible(graph: ChannelGraph, target: Target, constraints: Constraints) -> None:
    """Raise `InfeasibleTarget` or `UnknownName` before any data is read and anything is timed."""
    check_names(graph, constraints)
    quantizer_for(target.quantizer)
    others = target.absolute({**totals(graph), LATENCY: 0})
    others.pop(LATENCY, None)
    scores = Scores(graph, np.zeros(graph.channels))
    decide(scores, others, constraints, rank="saving", cost=graph.cost, asked=target)


def check_readable(data: Any) -> None:
    """Raise `BadInput` for data that can be read only once."""
    if isinstance(data, Iterator):
        raise BadInput(
            f"data must be readable more than once. Received: a {type(data).__name__}. Pass arrays, a tf.data.Dataset "
            "(tf.data.Dataset.from_generator) or a PyDataset."
        )


def check_validation(data: Any) -> None:
    """Raise `BadInput` unless validation data have labels."""
    if hasattr(data, "shape"):
        raise BadInput("validation_data must have labels. Received: one array. Pass (x, y) or a data set that yields (x, y).")


def check_repair(repair: str | Sequence[str] | None, data: Any) -> None:
    """Raise `UnknownName` or `BadInput` before any work is done."""
    if repair is not None:
        check_method(repair)
        if data is None:
            raise BadInput("data must be given to repair. Received: None. Pass inputs; they need no labels.")
