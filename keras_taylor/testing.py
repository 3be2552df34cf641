"""Contract tests, for the rules and criteria of this package and for yours.

They raise `AssertionError` themselves: a bare `assert` says nothing under `python -O`.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_taylor._keras.example_inputs import example_inputs
from keras_taylor._keras.model import layers_of
from keras_taylor._plan.plan import plan
from keras_taylor._plan.pruning_plan import PruningPlan, from_mask, to_mask
from keras_taylor._plan.target import Target
from keras_taylor._rebuild.rebuild import rebuild
from keras_taylor._rebuild.verify import relative_error, run, silenced
from keras_taylor._record.statistics import statistics_named
from keras_taylor._score.scores import Scores
from keras_taylor._trace.graph import ChannelGraph, as_graph, trace
from keras_taylor.criteria import Criterion, Record, criterion_for
from keras_taylor.criteria._statistics import DATA, LOSS, WEIGHTS, statistics_from
from keras_taylor.errors import BadInput, InfeasibleTarget, whole_number
from keras_taylor.rules import Keep, registered

__all__ = ["assert_rebuilt_equals_masked", "check_criterion", "check_rule", "random_plan", "randomize"]


def check_rule(operation: type, *, seeds: int = 3, tolerance: float = 1e-4) -> None:
    """Check the rule of an operation class on the rule's own examples.

    For random plans, the rebuilt model must equal the masked one (the original with the removed channels silenced), have the
    predicted cost, save and load; and a wrong mask must be noticed.

    Args:
        operation: the registered layer or operation class.
        seeds: number of random plans per example.
        tolerance: largest relative error that counts as equal.

    Raises:
        BadInput: the class has no rule, or the rule has no examples, or no example contains the class.
        AssertionError: the rule is wrong; says how.

    Example:
        >>> import keras, keras_taylor as kt
        >>> kt.testing.check_rule(keras.layers.Conv2D, seeds=1)
    """
    seeds = whole_number("seeds", seeds)
    rule = registered().get(operation)
    if rule is None:
        raise BadInput(f"{operation.__name__} must have a rule. Received: a class that is not registered with register_rule.")
    graphs = [trace(model) for model in rule.examples()]
    served = {kind for kind, found in registered().items() if found is rule}
    used = {type(step.call.operation) for graph in graphs for step in graph.steps}
    if not used & served:
        raise BadInput(
            f"examples() of {type(rule).__name__} must contain a {operation.__name__}. Received: {len(graphs)} models."
        )
    _require(
        any(graph.locks[group.channels[0]] == "" for graph in graphs for group in graph.groups),
        f"the examples of {type(rule).__name__} must leave a channel to remove: {graphs[0]}",
    )
    removed, noticed = 0, 0
    for graph in graphs:
        randomize(graph.model, seed=0)
        for seed in range(seeds):
            made = random_plan(graph, seed)
            small = _check_rebuilt(graph, made, tolerance)
            mask = to_mask(graph, made)
            wrong = shifted(graph, mask)
            if not np.array_equal(wrong, mask):
                inputs = example_inputs(graph.program, seed=0)
                masked = silenced(graph, graph.keep_labels(wrong), inputs)
                removed += 1
                noticed += relative_error(masked, run(small, inputs)) > tolerance
    _require(bool(noticed) or not removed, f"a wrong mask goes unnoticed in the examples of {type(rule).__name__}")


def _require(holds: bool, text: str) -> None:
    if not holds:
        raise AssertionError(text)


def randomize(model: Any, seed: int = 0) -> None:
    """Give every weight a random value that is far from zero and keeps activations in range: nothing hides behind a zero.

    Args:
        model: it is changed.
        seed: for the values.
    """
    rng = np.random.default_rng(seed)
    for weight in model.weights:
        shape = tuple(weight.shape)
        if "variance" in weight.path.rsplit("/", 1)[-1] or "gamma" in weight.path.rsplit("/", 1)[-1]:
            value = rng.uniform(0.5, 1.5, shape)
        elif len(shape) > 1:
            value = rng.normal(size=shape) / np.sqrt(max(np.prod(shape[:-1]), 1))
        else:
            value = rng.uniform(0.05, 0.3, shape) * rng.choice([-1.0, 1.0], shape)
        weight.assign(value.astype(weight.dtype))
    for layer in layers_of(model):
        if hasattr(layer, "finalize_state"):
            layer.finalize_state()


def random_plan(model: Any, seed: int, macs: float = 0.6) -> PruningPlan:
    """A plan from random scores.

    Args:
        model: a model, or its graph.
        seed: for the scores.
        macs: share of the multiply-accumulates that is left, or as near to it as locks allow.
    """
    graph = as_graph(model)
    scores = Scores(graph, np.random.default_rng(seed).random(graph.channels))
    for fraction in (macs, *np.linspace(macs, 1.0, 5)[1:].tolist()) if graph.macs else ():
        try:
            return plan(scores, Target(macs=fraction, allow_uncounted=True))
        except InfeasibleTarget:
            continue
    return from_mask(graph, np.ones(graph.channels, bool))


def assert_rebuilt_equals_masked(model: Any, plan: PruningPlan, *, tolerance: float = 1e-4) -> None:
    """Rebuild, compare with the masked original, save, load, compare again.

    Args:
        model: the original, or its graph.
        plan: what to remove.
        tolerance: largest relative error that counts as equal.

    Raises:
        AssertionError: one of these fails; says which.
    """
    _check_rebuilt(as_graph(model), plan, tolerance)


def _check_rebuilt(graph: ChannelGraph, plan: PruningPlan, tolerance: float) -> Any:
    """The rebuilt model, once all checks have passed."""
    keep = graph.keep_labels(to_mask(graph, plan))
    small = rebuild(graph, plan)
    inputs = example_inputs(graph.program, seed=0)
    expected = silenced(graph, keep, inputs)
    error = relative_error(expected, run(small, inputs))
    text = f"rebuilt and masked differ by {error:.1e} (tolerance {tolerance:.0e}) for {dict(plan.kept)}"
    _require(error <= tolerance, text)
    cost = trace(small)
    if plan.after:
        found = {"macs": cost.macs, "params": cost.params}
        said = {name: plan.after[name] for name in found}
        _require(found == said, f"cost {found} is not what the plan says: {dict(plan.after)}")
    there = small.count_params()
    _require(cost.params == there, f"{cost.params} parameters predicted, {there} there")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "small.keras"
        small.save(path)
        loaded = keras.models.load_model(path, compile=False)
    again = relative_error(run(small, inputs), run(loaded, inputs))
    _require(again <= 1e-6, f"the loaded model differs from the saved one by {again:.1e}")
    return small


def shifted(graph: ChannelGraph, keep: Keep) -> Keep:
    """A wrong mask (a boolean per channel): in every layer group the kept channels moved by one, which checks must notice."""
    wrong = keep.copy()
    for group in graph.groups:
        wrong[group.channels] = np.roll(keep[group.channels], 1)
    return wrong


def check_criterion(criterion: str | Criterion, *, channels: int = 5, seed: int = 0) -> None:
    """Check that a criterion keeps its contract on random statistics.

    Scores must be finite, one per channel; splitting the data into other batches must not change them (unless it says
    `by_batch`); `update` must not change the record, nor look at what `needs` does not name.

    Args:
        criterion: a registered name, or an instance.
        channels: number of channels of the made-up record.
        seed: for the statistics.

    Raises:
        AssertionError: the contract is broken; says how.

    Example:
        >>> import keras_taylor as kt
        >>> kt.testing.check_criterion("taylor")
    """
    chosen = criterion_for(criterion)
    rng = np.random.default_rng(seed)
    made = {one.name: one.example(rng, 12, channels) for one in statistics_named(statistics_from(WEIGHTS, DATA, LOSS))}
    constant = {name: made.pop(name) for name in statistics_from(WEIGHTS)}
    statistics: dict[str, Any] = made
    positions = rng.integers(1, 50, channels).astype(float)
    groups = [np.arange(2), np.arange(2, channels)]

    def scored(*sizes: int) -> Any:
        state, start = chosen.init(channels, np.random.default_rng(seed)), 0
        for size in sizes:
            batch = {name: value[start : start + size] for name, value in statistics.items()}
            seen = {name: value for name, value in {**batch, **constant}.items() if name in chosen.needs}
            state = chosen.update(state, Record(channels, positions, groups, seen))
            start += size
        return np.asarray(chosen.result(state))

    before = {name: value.copy() for name, value in statistics.items()}
    whole = scored(12)
    _require(whole.shape == (channels,), f"scores of {chosen.name!r} have shape {whole.shape}, expected ({channels},)")
    _require(bool(np.isfinite(whole).all()), f"scores of {chosen.name!r} are not finite: {whole}")
    for name, value in before.items():
        _require(np.array_equal(statistics[name], value), f"{chosen.name!r} changed the record")
    if chosen.needs_data and not chosen.by_batch:
        split = scored(5, 4, 3)
        same = np.allclose(whole, split, rtol=1e-6)
        _require(same, f"{chosen.name!r} depends on the batches: {whole} and {split}")
