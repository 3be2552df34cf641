"""Any functional model: what repair must never change, and what it must restore."""

import warnings
from collections import Counter

import keras
import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

import keras_taylor as kt
from keras_taylor._keras.program import infer
from keras_taylor._plan.pruning_plan import from_mask
from keras_taylor._rebuild.verify import relative_error, run
from tests.random_graphs import RECIPES, Builder

EXAMPLES = 160


def locked_layers(graph):
    """Names of the layers with weights all of whose channels are locked."""
    names = set()
    for step in graph.steps:
        ids = [*step.axes.values(), *(labels.ids for labels in (*step.inputs, *step.outputs))]
        if all((graph.locks[graph.channel[one]] != "").all() for one in ids):
            names.add(step.call.operation.name)
    return names


def copy_channels(graph, rng):
    """Make some channels exact copies of others of their group, in every weight that they are born from or pass."""
    pairs = []
    for group in graph.groups:
        free = [c for c in group.channels if graph.locks[c] == ""]
        if len(free) < 2:
            continue
        source, copies = free[0], [c for c in free[1:] if rng.random() < 0.5]
        for step in graph.steps:
            for name, words in step.rule.weight_axes(step.call.operation).items():
                axes = words.split()
                if "out" not in axes or "out" not in step.axes:
                    continue
                channels, axis = graph.channel[step.axes["out"]], axes.index("out")
                value = np.moveaxis(getattr(step.call.operation, name).numpy(), axis, 0)
                for copy in copies:
                    here, there = np.flatnonzero(channels == source), np.flatnonzero(channels == copy)
                    if len(here) == len(there):
                        value[there] = value[here]
                getattr(step.call.operation, name).assign(np.moveaxis(value, 0, axis))
        pairs += [(source, copy) for copy in copies]
    return pairs


def are_copies(graph, pairs, inputs):
    """Whether every layer that contracts over channels reads the same from both of each pair."""
    read = {}

    def look(call, args, kwargs):
        read[id(call)] = keras.tree.flatten(args)[0]
        return infer(call, args, kwargs)

    graph.program.run([keras.ops.convert_to_tensor(x) for x in inputs], look)
    for step in graph.steps:
        channels = graph.channel[step.inputs[0].ids] if step.consumes else np.empty(0)
        x = np.moveaxis(np.asarray(read[id(step.call)]), step.inputs[0].axis, 0) if step.consumes else None
        for source, copy in pairs:
            here, there = np.flatnonzero(channels == source), np.flatnonzero(channels == copy)
            if len(here) != len(there) or (len(here) and not np.allclose(x[here], x[there], atol=1e-6)):
                return False
            linear = step.rule.linear(step.call.operation)
            if len(here) and (linear is None or linear.mix is not None):
                return False  # a separable convolution filters each of the two in its own way, and only mixes anew
    return True


def check(recipe, seed, counts):
    rng = np.random.default_rng(seed)
    model = Builder().build(recipe)
    kt.testing.randomize(model, seed)
    graph = kt.trace(model)
    inputs = [
        rng.normal(size=(EXAMPLES, *(d or 4 for d in tensor.shape[1:]))).astype("float32") for tensor in graph.program.inputs
    ]
    data = inputs if len(inputs) > 1 else inputs[0]
    counts["graphs"] += 1

    def fix(plan, small, **options):
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            method = kt.repairs.LeastSquares(**options)
            fixed = kt.repair(model, plan, small, (data,), method=method, examples=EXAMPLES, verbose=0).model
        return fixed, [str(one.message) for one in said]

    nothing = kt.PruningPlan({})
    same, _ = fix(nothing, kt.rebuild(model, nothing))
    assert all(np.allclose(a, b, atol=1e-5) for a, b in zip(model.get_weights(), same.get_weights(), strict=True))

    plan = kt.testing.random_plan(model, seed)
    small = kt.rebuild(model, plan)
    fixed, _ = fix(plan, small)
    before, after = kt.trace(small), kt.trace(fixed)
    assert (before.macs, before.params) == (after.macs, after.params)
    assert [w.shape for w in small.get_weights()] == [w.shape for w in fixed.get_weights()]
    locked = locked_layers(graph)
    for old, new in zip(small.layers, fixed.layers, strict=True):
        if old.name in locked:
            counts["locked"] += bool(old.weights)
            assert all(map(np.array_equal, old.get_weights(), new.get_weights())), f"{old.name} is locked, and changed"

    pairs = copy_channels(graph, rng)
    if not pairs:
        return
    if not are_copies(graph, pairs, inputs):
        counts["no copies"] += 1  # a layer mixes what is tied in another order
        return
    keep = np.ones(graph.channels, bool)
    keep[[copy for _, copy in pairs]] = False
    plan = from_mask(graph, keep)
    small = kt.rebuild(model, plan)
    fixed, said = fix(plan, small, ridge=1e-12, rows=0)
    if said:
        counts["too few rows"] += 1
        return
    expected = run(model, inputs)
    counts["copies"] += 1
    counts["were different"] += relative_error(expected, run(small, inputs)) > 1e-3
    error = relative_error(expected, run(fixed, inputs))
    assert error <= 1e-4, f"copies are not restored: {error:.1e} for {dict(plan.kept)}"


def search(examples, derandomize):
    counts = Counter()

    @settings(
        max_examples=examples,
        derandomize=derandomize,
        database=None,
        deadline=None,
        phases=(Phase.generate,),
        suppress_health_check=list(HealthCheck),
    )
    @given(recipe=RECIPES, seed=st.integers(0, 2**16))
    def every_graph(recipe, seed):
        check(recipe, seed, counts)
        if counts["graphs"] % 50 == 0:
            keras.backend.clear_session()

    every_graph()
    print(dict(counts))
    assert counts["copies"] >= 0.3 * counts["graphs"], counts
    assert counts["were different"] >= 0.7 * counts["copies"], counts
    assert counts["locked"] > 0, counts


def test_20_random_graphs():
    search(20, derandomize=True)


@pytest.mark.large
def test_400_random_graphs():
    search(400, derandomize=False)
