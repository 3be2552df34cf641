"""`kt.analyze`: what pruning would keep at many shares, measured at a few of them."""

from __future__ import annotations

import math
import numbers
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from keras_taylor._analyze.analysis import Analysis, AnalysisRow, is_within
from keras_taylor._analyze.clock import Clock, training_pass
from keras_taylor._analyze.locked import locked_layers
from keras_taylor._analyze.trials import Trials
from keras_taylor._keras.batches import infinite, joined
from keras_taylor._keras.forms import as_data, is_infinite
from keras_taylor._keras.progress import verbosity
from keras_taylor._plan.plan import smallest
from keras_taylor._plan.target import Target
from keras_taylor._run.checks import check_data, check_feasible, check_validation
from keras_taylor._run.recipe import Recipe, recipe_for
from keras_taylor._run.step import PruningStep
from keras_taylor._trace.graph import as_graph
from keras_taylor._trace.input_range import remember_inputs, warns_once
from keras_taylor.errors import BadInput, several, shown, whole_number

SHARES = (0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2)
QUICK = Recipe(repair="lstsq", examples=1024)


@warns_once
def analyze(
    model: Any,
    x: Any,
    y: Any = None,
    *,
    shares: Sequence[float] = SHARES,
    measured: int = 3,
    within: float = 0.01,
    recipe: Recipe | str | None = None,
    loss: Any = None,
    validation_data: Any = None,
    class_weight: Mapping[int, float] | None = None,
    batch_size: int = 32,
    allow_uncounted: bool = False,
    seed: int = 0,
    verbose: Any = "auto",
) -> Analysis:
    """Say what a model would keep at many shares of its multiply-accumulates, before you prune it.

    Channels are scored once, and every share is planned. Some shares are measured: the model is pruned and repaired as
    `kt.prune` with the same arguments does it, and judged on held-back examples. The others are estimated by a monotone curve
    through what was measured. Then shares are measured until the largest cut that is within bounds is a measured one, and so is
    the next smaller share.

    Args:
        model: a built Functional or Sequential model, or its graph; it is not changed.
        x: what `fit` takes, as in `kt.prune`. Labels are not needed.
        y: labels, where `x` are input arrays.
        shares: of the multiply-accumulates, between 0 and 1.
        measured: how many shares are measured at first, spread over those that can be reached; the smallest is one of them.
        within: how much may be lost, as a fraction: 0.01 is one point. With validation data it is of the first compiled metric
            that has `acc` in its name. Else, where a softmax or the compiled loss tells that outputs are classes, it is of the
            agreement with the unpruned model, and accuracy falls by no more than that. Else it bounds the output error.
        recipe: how channels are chosen and the rest repaired; a quick one by default, `kt.Recipe(repair="lstsq",
            examples=1024)`. Of `repair="auto"`, only the quick methods are tried: `"tune"` comes on top. The `schedule` is left
            out.
        loss: a loss to use instead of the compiled one.
        validation_data: what `evaluate` takes: the compiled metrics on them are measured, too.
        class_weight: weight of each class index, as in `fit`.
        batch_size: examples in a batch, for arrays.
        allow_uncounted: as in `kt.Target`.
        seed: for the sample and for criteria that draw random numbers.
        verbose: 0 is silent, 1 shows progress bars; `"auto"` is 1.

    Returns:
        A row for every share, `largest_cut`, what is `locked` and what it costs, and the `seconds` of every step.

    Raises:
        KerasTaylorError: see `kt.prune`. A share that cannot be reached is no error: its row says so.

    Example:
        >>> import keras, numpy as np, keras_taylor as kt
        >>> model = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Conv2D(8, 3, activation="relu"),
        ...                           keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(2, name="head")])
        >>> x = np.random.default_rng(0).random((64, 8, 8, 1))
        >>> analysis = kt.analyze(model, x, shares=[0.9, 0.5, 0.05], verbose=0)
        >>> [row.status for row in analysis.rows], analysis.locked[0].name
        (['measured', 'measured', 'unreachable'], 'head')
    """
    shares, measured, recipe, data = (
        _shares(shares),
        whole_number("measured", measured),
        recipe_for(recipe or QUICK),
        joined(x, y),
    )
    real = isinstance(within, numbers.Real) and not isinstance(within, bool)
    if not real or not 0 <= float(within) < 1:
        raise BadInput(f"within must be a fraction from 0 to below 1. Received: {shown(within)}. Pass 0.01 for one point.")
    if data is None:
        raise BadInput("x must be given to analyze. Received: None. Pass inputs; they need no labels.")
    if recipe.repair is None:
        raise BadInput("recipe of analyze must repair. Received: repair=None. Name a method: kt.Recipe(repair='lstsq').")
    validation_data, loud = as_data(validation_data), verbosity(verbose)
    if is_infinite(validation_data):
        raise infinite(validation_data, "validation_data that end: a tf.data.Dataset has .take(10)")
    clock = Clock()
    with clock("trace"):
        graph = as_graph(model)
    check_feasible(graph, Target(macs=1.0, allow_uncounted=allow_uncounted), recipe.constraints)
    check_validation(graph.model, validation_data)
    check_data(graph.model, data, recipe, loss=loss)
    remember_inputs(graph.model, data)
    step = PruningStep(recipe, loss, batch_size, class_weight, seed, verbose).quick()
    with clock("score"):
        scores = step.scores(graph, data)
    least = smallest(scores, recipe.constraints, rank=recipe.rank, cost=graph.cost)
    trials = Trials(graph, scores, shares, step, data, validation_data, clock)
    for number in _spread(len(trials.reachable), measured):
        trials.measure(number, loud)
    while (unsure := _unsure(trials.rows(), float(within))) is not None:
        trials.measure(unsure, loud)
    seconds = clock.means()
    trained = training_pass(graph, data, batch_size, class_weight)
    return Analysis(
        model=graph.name,
        **{name: graph.cost.totals()[name] for name in ("macs", "params")},
        floor=graph.cost.totals(least)["macs"],
        rows=trials.rows(),
        locked=locked_layers(graph, recipe.constraints, least),
        judged_by=trials.judged_by,
        metric=trials.start,
        within=float(within),
        examples=trials.examples,
        seconds=seconds if trained is None else {**seconds, "training pass": trained},
        settings={**step.recipe.settings(), "seed": seed},
    )


def _shares(given: Any) -> list[float]:
    """The shares, the largest first.

    Raises:
        BadInput: none, or something else than fractions below 1.
    """
    shares = several("shares", given)
    wrong = [one for one in shares if not isinstance(one, numbers.Real) or isinstance(one, bool) or not 0 < float(one) < 1]
    if wrong or not shares:
        raise BadInput(
            f"shares must be fractions between 0 and 1. Received: {shown(wrong or shares)}. Write shares=[0.7, 0.5]."
        )
    return sorted({float(one) for one in shares}, reverse=True)


def _spread(count: int, measured: int) -> list[int]:
    """So many of the first `count` numbers, evenly spread, the last one among them."""
    chosen = np.linspace(count - 1, -1, min(measured, count), endpoint=False)
    return sorted({math.ceil(number) for number in chosen.tolist()})


def _unsure(rows: Sequence[AnalysisRow], within: float) -> int | None:
    """Which share to measure next: the largest cut within bounds, then the next smaller one; None if both are measured."""
    fits = [number for number, row in enumerate(rows) if is_within(row, within)]
    cut = max(fits, default=-1)
    return next((number for number in (cut, cut + 1) if 0 <= number < len(rows) and rows[number].status == "estimated"), None)
