"""Initialisers, regularisers and constraints that hold a value for each channel."""

import keras
import numpy as np
import pytest

import keras_taylor as kt
from tests import nets

layers, ops = keras.layers, keras.ops
register = keras.saving.register_keras_serializable("tests")
VALUES = np.arange(1.0, 9.0, dtype="float32")
KEPT = (0, 2, 5)


@register
class Limit(keras.constraints.Constraint):
    def __init__(self, limit):
        self.limit = np.asarray(limit, "float32")

    def __call__(self, weight):
        return ops.clip(weight, -self.limit, self.limit)

    def get_config(self):
        return {"limit": self.limit.tolist()}


@register
class Strength(keras.regularizers.Regularizer):
    def __init__(self, strength):
        self.strength = strength

    def __call__(self, weight):
        return ops.sum(ops.convert_to_tensor(self.strength, "float32") * ops.square(weight))

    def get_config(self):
        return {"strength": [float(value) for value in self.strength]}


@register
class Columns(Strength):
    """Its values meet another axis than the last one."""

    def __call__(self, weight):
        return ops.sum(ops.reshape(ops.convert_to_tensor(self.strength, "float32"), (-1, 1)) * ops.square(weight))


def pruned(make, width=4):
    model = nets.randomized(
        keras.Sequential([keras.Input((width,)), make, layers.Activation("relu"), layers.Dense(8, name="b"), layers.Dense(2)])
    )
    plan = kt.PruningPlan({"a": KEPT})
    small = kt.rebuild(model, plan)
    assert kt.verify(model, plan, small).ok
    small.compile("sgd", "mse")
    small.fit(np.ones((4, width)), np.ones((4, 2)), verbose=0)
    return model, small


@pytest.mark.parametrize("values", [VALUES, VALUES.tolist(), np.arange(8)], ids=["array", "list", "integers"])
def test_a_constant_for_each_channel(values):
    """`Incompatible shapes: [8] vs. [4]`, before."""
    _, small = pruned(layers.Dense(8, bias_initializer=keras.initializers.Constant(values), name="a"))
    found = small.get_layer("a").bias_initializer(shape=(3,))
    np.testing.assert_array_equal(found, np.asarray(values)[list(KEPT)])


def test_constants_of_both_axes_of_a_kernel():
    kernel = np.arange(64.0).reshape(8, 8)
    model = nets.randomized(
        keras.Sequential(
            [
                keras.Input((4,)),
                layers.Dense(8, name="a"),
                layers.Dense(8, kernel_initializer=keras.initializers.Constant(kernel), name="b"),
                layers.Dense(2),
            ]
        )
    )
    small = kt.rebuild(model, kt.PruningPlan({"a": KEPT, "b": (1, 7)}))
    found = small.get_layer("b").kernel_initializer(shape=(3, 2))
    np.testing.assert_array_equal(found, kernel[np.ix_(KEPT, (1, 7))])


def test_initialisers_of_other_layers():
    constant = keras.initializers.Constant(VALUES)
    model = nets.randomized(
        keras.Sequential(
            [
                keras.Input((6, 6, 3)),
                layers.Conv2D(8, 3, name="a"),
                layers.BatchNormalization(gamma_initializer=constant, moving_mean_initializer=constant, name="norm"),
                layers.PReLU(shared_axes=[1, 2], alpha_initializer=constant, name="prelu"),
                layers.SeparableConv2D(4, 3, depthwise_initializer=keras.initializers.Constant(VALUES[:, None]), name="sep"),
                layers.Conv2D(2, 1),
            ]
        )
    )
    plan = kt.PruningPlan({"a": KEPT})
    assert kt.verify(model, plan, kt.rebuild(model, plan)).ok


def test_a_function_as_an_initialiser_that_knows_one_shape():
    def constant(shape, dtype=None):
        return ops.ones(shape) * VALUES

    pruned(layers.Dense(8, bias_initializer=constant, name="a"))


def test_a_constraint_for_each_channel():
    """The rebuilt model computed what it should, and its first training step failed."""
    model, small = pruned(layers.Dense(8, kernel_constraint=Limit(VALUES / 10), name="a"))
    np.testing.assert_allclose(small.get_layer("a").kernel_constraint.limit, VALUES[list(KEPT)] / 10)
    np.testing.assert_allclose(model.get_layer("a").kernel_constraint.limit, VALUES / 10)


def test_regularisers_of_weights_and_outputs():
    """They raised `Incompatible shapes`, before."""
    options = {name: Strength(VALUES) for name in ("kernel_regularizer", "bias_regularizer", "activity_regularizer")}
    _, small = pruned(layers.Dense(8, **options, name="a"))
    for name in options:
        np.testing.assert_array_equal(getattr(small.get_layer("a"), name).strength, VALUES[list(KEPT)])


def test_what_cannot_be_cut_is_left_out_with_a_warning():
    model = nets.randomized(
        keras.Sequential(
            [
                keras.Input((4,)),
                layers.Dense(8, name="a"),
                layers.Dense(5, kernel_regularizer=Columns(VALUES), name="b"),
                layers.Dense(2),
            ]
        )
    )
    text = r"kernel_regularizer of layer 'b' does not work on the smaller shape \(3, 5\).*made for \(8, 5\)"
    with pytest.warns(UserWarning, match=text):
        small = kt.rebuild(model, kt.PruningPlan({"a": KEPT}))
    assert small.get_layer("b").kernel_regularizer is None and not small.losses


def test_options_without_a_value_for_each_channel_stay():
    make = layers.Dense(8, kernel_constraint=keras.constraints.MaxNorm(2.0, axis=[0]), kernel_initializer="ones", name="a")
    _, small = pruned(make)
    assert small.get_layer("a").kernel_constraint.axis == [0]
    assert isinstance(small.get_layer("a").kernel_initializer, keras.initializers.Ones)
