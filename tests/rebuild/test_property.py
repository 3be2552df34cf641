"""Any functional model, any plan: what is rebuilt computes what the masked original computes."""

from collections import Counter

import keras
import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

import keras_taylor as kt
from keras_taylor._keras.example_inputs import example_inputs
from keras_taylor._plan.pruning_plan import to_mask
from keras_taylor._rebuild.verify import relative_error, run, silenced
from tests.random_graphs import OPERATIONS, RECIPES, Builder


def check(recipe, seed, counts):
    """Build the model of a recipe, prune it at random, compare; what happened is added to `counts`."""
    model = Builder().build(recipe)
    kt.testing.randomize(model, seed)
    graph = kt.trace(model)
    inputs = example_inputs(graph.program, seed)
    plain = run(model, inputs)
    assert all(np.isfinite(y).all() for y in plain)
    everything = graph.keep_labels(np.ones(graph.channels, bool))
    assert relative_error(plain, silenced(graph, everything, inputs)) <= 1e-5, "the flat graph is not the model"
    assert graph.params == model.count_params()

    plan = kt.testing.random_plan(model, seed)
    keep = to_mask(graph, plan)
    small = kt.rebuild(model, plan)
    rebuilt = run(small, inputs)
    error = relative_error(silenced(graph, graph.keep_labels(keep), inputs), rebuilt)
    assert error <= 1e-4, f"rebuilt and masked differ by {error:.1e} for {dict(plan.kept)}"
    again = kt.trace(small)
    assert (again.macs, again.params) == (plan.after["macs"], plan.after["params"])
    assert again.params == small.count_params()

    counts["graphs"] += 1
    counts.update({step[0] for step in recipe[0]})
    if not keep.all():
        counts["removed"] += 1
        wrong = kt.testing.shifted(graph, keep)
        if not np.array_equal(wrong, keep):
            counts["shifted"] += 1
            difference = relative_error(silenced(graph, graph.keep_labels(wrong), inputs), rebuilt)
            counts["noticed"] += not difference <= 1e-3
    if counts["graphs"] % 50 == 0:
        keras.backend.clear_session()


def search(examples, derandomize):
    counts = Counter()

    @settings(
        max_examples=examples,
        derandomize=derandomize,
        database=None,
        deadline=None,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
    )
    @given(recipe=RECIPES, seed=st.integers(0, 2**16))
    def every_graph(recipe, seed):
        check(recipe, seed, counts)

    every_graph()
    print(dict(counts))
    assert counts["graphs"] >= examples
    assert set(OPERATIONS) <= set(counts), f"never drawn: {set(OPERATIONS) - set(counts)}"
    # The test can fail: most graphs lose something, and a mask shifted by one is seen to be wrong.
    assert counts["removed"] >= 0.7 * counts["graphs"], counts
    assert counts["shifted"] >= 0.6 * counts["graphs"], counts
    assert counts["noticed"] >= 0.9 * counts["shifted"], counts


def test_100_random_graphs():
    search(100, derandomize=True)


@pytest.mark.large
def test_2000_random_graphs():
    search(2000, derandomize=False)
