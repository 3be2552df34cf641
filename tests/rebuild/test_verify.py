"""`kt.verify` says equal when it is, and different when anything is wrong."""

import keras
import numpy as np
import pytest
import tensorflow as tf

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


class Noise(layers.Layer):
    """Adds what it draws, in inference, too."""

    def __init__(self, draw="generator", **options):
        super().__init__(**options)
        self.draw = draw
        self.generator = keras.random.SeedGenerator(7) if draw == "generator" else None

    def call(self, x):
        if self.draw == "tensorflow":
            return x + tf.random.normal(tf.shape(x))
        return x + keras.random.normal(keras.ops.shape(x), seed=self.generator)

    def get_config(self):
        return {**super().get_config(), "draw": self.draw}


class MonteCarloDropout(layers.Dropout):
    def call(self, x, training=None):
        return super().call(x, training=True)


def random_net(noise, where="head"):
    x = inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(6, 3, activation="relu", name="a")(x)
    x = noise(x) if where == "channels" else x
    x = layers.Conv2D(4, 1, name="c")(layers.Conv2D(4, 3, name="b")(x))
    x = layers.GlobalAveragePooling2D()(x)
    x = noise(x) if where == "head" else x
    return nets.randomized(keras.Model(inputs, layers.Dense(3)(x)))


class TestRandomInInference:
    @pytest.mark.parametrize(
        "noise",
        [
            lambda: Noise("generator"),
            lambda: Noise("no seed"),
            lambda: MonteCarloDropout(0.5),
        ],
    )
    def test_equal_draws_are_compared(self, noise):
        model = random_net(noise())
        states = [v.numpy() for v in model.variables]
        plan = kt.PruningPlan({"a": (0, 1, 2)})
        small = kt.rebuild(model, plan)
        assert not np.allclose(*(model.predict(nets.images(2)[0], verbose=0) for _ in range(2)))
        states = [v.numpy() for v in model.variables]
        assert kt.verify(model, plan, small).ok
        assert all(map(np.array_equal, states, [v.numpy() for v in model.variables]))
        small.get_layer("a").kernel.assign(2 * small.get_layer("a").kernel)
        check = kt.verify(model, plan, small)
        assert not check.ok and check.random

    @pytest.mark.parametrize(
        ("noise", "where"),
        [(lambda: Noise("tensorflow"), "head"), (lambda: Noise("tensorflow"), "channels")],
    )
    def test_draws_that_cannot_be_equal_are_no_fault_of_a_rule(self, noise, where):
        model = random_net(noise(), where)
        plan = kt.PruningPlan({"a": (0, 1, 2)} if where == "head" else {})
        check = kt.verify(model, plan, kt.rebuild(model, plan))
        assert not check.ok and check.random
        assert str(check).startswith("NOT COMPARABLE, the model is random in inference")
        with pytest.raises(kt.errors.UnsupportedModel, match="it is random in inference"):
            kt.prune(model, target=kt.Target(macs=0.9), recipe=kt.Recipe("l1"))


class TestMadeUpInputs:
    def test_strings(self):
        x = inputs = keras.Input((4,), dtype="string")
        x = layers.Embedding(5, 8)(layers.StringLookup(vocabulary=["a", "b", "c"])(x))
        x = layers.Conv1D(6, 2, activation="relu", name="d")(layers.Conv1D(8, 2, activation="relu", name="c")(x))
        model = nets.randomized(keras.Model(inputs, layers.Dense(3, activation="softmax")(layers.GlobalAveragePooling1D()(x))))
        plan = kt.PruningPlan({"c": (0, 1, 2)})
        small = kt.rebuild(model, plan)
        words = np.random.default_rng(0).choice(["a", "b", "c", "z"], size=(40, 4))
        for given in (None, words, words.astype(object), tf.constant(words)):
            assert kt.verify(model, plan, small, given).ok
        assert len(kt.repair(model, plan, small, words, method="lstsq", verbose=0).attempts) == 2
        assert kt.prune(model, words, target=kt.Target(macs=0.7), verbose=0).report["final"].macs < kt.trace(model).macs
        assert kt.prune(model, target=kt.Target(macs=0.7), recipe=kt.Recipe("l1")).report["final"].macs < kt.trace(model).macs

    def test_whole_numbers_beside_strings(self):
        words, number = keras.Input((3,), dtype="string"), keras.Input((2,), dtype="int64")
        x = layers.Embedding(9, 4)(layers.Hashing(8)(words))
        y = layers.Embedding(3, 4)(layers.IntegerLookup(vocabulary=[0, 1])(number))
        x = layers.Dense(6, activation="relu", name="d")(layers.Flatten()(layers.Concatenate(axis=1)([x, y])))
        model = nets.randomized(keras.Model([words, number], layers.Dense(2)(x)))
        plan = kt.PruningPlan({"d": (0, 1, 2)})
        assert kt.verify(model, plan, kt.rebuild(model, plan)).ok

    def test_a_model_that_cannot_take_them_asks_for_inputs(self):
        inputs = keras.Input((4,), dtype="string")
        x = layers.Dense(6, activation="relu", name="d")(Parsed()(inputs))
        model = nets.randomized(keras.Model(inputs, layers.Dense(2)(x)))
        plan = kt.PruningPlan({"d": (0, 1, 2)})
        small = kt.rebuild(model, plan)
        with pytest.raises(kt.errors.BadInput, match=r"x must be given: .* does not run on made-up inputs .* Pass real ones"):
            kt.verify(model, plan, small)
        assert kt.verify(model, plan, small, np.array([["1", "2", "3", "4"]])).ok


class Parsed(layers.Layer):
    """Numbers out of their texts."""

    def call(self, x):
        return tf.strings.to_number(x)

    def compute_output_spec(self, x):
        return keras.KerasTensor(x.shape, "float32")
