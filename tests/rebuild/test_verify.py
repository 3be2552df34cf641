"""`kt.verify` says equal when it is, and different when anything is wrong."""

import keras
import numpy as np
import pytest

import keras_taylor as kt
from keras_taylor._output.results import Result
from keras_taylor._rebuild.verify import relative_error
from tests import nets

layers = keras.layers


@pytest.fixture(scope="module")
def pruned():
    model = nets.randomized(nets.residual())
    plan = kt.plan(nets.random_scores(kt.trace(model)), kt.Target(macs=0.5))
    return model, plan, kt.rebuild(model, plan)


def test_equal(pruned):
    check = kt.verify(*pruned)
    assert check.ok and check.max_relative_error < 1e-5
    assert str(check).startswith("equal: largest relative error")


def test_given_inputs_and_seeds(pruned):
    assert kt.verify(*pruned, nets.images(3)[0]).ok
    assert kt.verify(*pruned, seed=5).ok


def test_old_names_of_arguments(pruned):
    model, plan, small = pruned
    x = nets.images(3)[0]
    with pytest.warns(DeprecationWarning) as said:
        old = kt.verify(model, plan, pruned=small, inputs=x)
    assert sorted(str(one.message) for one in said) == [
        "inputs= of verify is called x= now.",
        "pruned= of verify is called small= now.",
    ]
    assert old == kt.verify(model, plan, small, x)


def test_the_result_shows_itself(pruned):
    check = kt.verify(*pruned)
    assert isinstance(check, Result)
    assert check.render("markdown") == str(check)
    assert check._repr_html_().startswith("<p>equal: largest relative error")


BREAK = {
    "a weight": lambda small: small.get_layer("inner").kernel.assign_add(0.05 * np.ones_like(small.get_layer("inner").kernel)),
    "a bias": lambda small: small.get_layer("logits").bias.assign_add([0.1, 0, 0]),
    "a statistic": lambda small: small.get_layer("outer_bn").moving_mean.assign(small.get_layer("outer_bn").moving_mean + 0.1),
    "channels in another order": lambda small: small.get_layer("outer").kernel.assign(
        small.get_layer("outer").kernel.numpy()[..., ::-1]
    ),
    "not a number": lambda small: small.get_layer("stem").bias.assign(small.get_layer("stem").bias * np.nan),
}


@pytest.mark.parametrize("what", BREAK)
def test_broken_on_purpose(pruned, what):
    model, plan, _ = pruned
    small = kt.rebuild(model, plan)
    BREAK[what](small)
    check = kt.verify(model, plan, small)
    assert not check.ok
    assert str(check).startswith("DIFFERENT")


def test_another_plan_is_noticed(pruned):
    model, plan, _ = pruned
    other = kt.plan(nets.random_scores(kt.trace(model), seed=9), kt.Target(macs=0.5))
    assert other != plan
    assert not kt.verify(model, plan, kt.rebuild(model, other)).ok


def test_other_shapes_are_an_error(pruned):
    model, plan, _ = pruned
    with pytest.raises(kt.errors.PlanMismatch, match="must have one shape"):
        kt.verify(model, plan, nets.residual(classes=4))


def test_silencing_happens_where_consumers_read():
    """beta and sigmoid(0) make a removed channel loud at the producer; what counts is what the next kernel reads."""
    inputs = keras.Input((8, 8, 3))
    x = layers.BatchNormalization(name="bn")(layers.Conv2D(6, 3, name="a")(inputs))
    model = nets.randomized(keras.Model(inputs, layers.Conv2D(2, 1)(layers.Activation("sigmoid")(x))))
    model.get_layer("bn").beta.assign([3.0] * 6)
    plan = kt.PruningPlan({"a": (0, 4)})
    assert kt.verify(model, plan, kt.rebuild(model, plan)).ok


def test_relative_error():
    a = np.array([1.0, -4.0])
    assert relative_error([a], [a]) == 0
    assert relative_error([a], [a + 0.2]) == pytest.approx(0.2 / 4)
    assert relative_error([np.zeros(2)], [np.zeros(2)]) == 0
    assert np.isnan(relative_error([a], [a * np.nan]))
    assert np.isnan(relative_error([a, a], [a * np.nan, a]))
