"""BatchNormalization folded into the layer before it computes the same."""

import keras
import numpy as np
import pytest

import keras_taylor as kt
from keras_taylor._keras.program import infer
from keras_taylor._record.folded_batchnorm import FoldedInference

layers = keras.layers
BEFORE = {
    "conv": lambda: layers.Conv2D(6, 3, padding="same"),
    "without bias": lambda: layers.Conv2D(6, 3, use_bias=False),
    "grouped": lambda: layers.Conv2D(6, 3, groups=2),
    "depthwise": lambda: layers.DepthwiseConv2D(3, depth_multiplier=2, use_bias=False),
    "separable": lambda: layers.SeparableConv2D(6, 3),
    "transposed": lambda: layers.Conv2DTranspose(6, 3, strides=2, use_bias=False),
    "dense": lambda: layers.Dense(6),
}


def both(model, x):
    """Outputs with folding and without, and how many calls were folded."""
    graph = kt.trace(model)
    folded = FoldedInference(graph)
    return *(np.asarray(graph.program.run([x], run)[0]) for run in (folded, infer)), len(folded.shifts)


def images(*shape):
    return np.random.default_rng(0).normal(size=(3, *(shape or (8, 8, 4)))).astype("float32")


@pytest.mark.parametrize("before", BEFORE)
@pytest.mark.parametrize("options", [{}, {"scale": False, "center": False}], ids=["whole", "statistics"])
def test_folds(before, options):
    first = [layers.Conv2D(4, 1)] if before == "depthwise" else []
    model = keras.Sequential(
        [
            keras.Input((8, 8, 4)),
            *first,
            BEFORE[before](),
            layers.BatchNormalization(**options),
            layers.ReLU(),
            layers.Conv2D(2, 1),
        ]
    )
    kt.testing.randomize(model)
    mine, plain, count = both(model, images())
    assert count == 1
    np.testing.assert_allclose(mine, plain, atol=1e-5 * np.abs(plain).max())


def test_leaves_alone_what_a_permute_parts():
    given = keras.Input((8, 4))
    x = layers.Permute((2, 1))(layers.BatchNormalization(axis=1)(layers.Permute((2, 1))(layers.Conv1D(6, 3)(given))))
    model = keras.Model(given, layers.Conv1D(2, 1)(x))
    kt.testing.randomize(model)
    mine, plain, count = both(model, images(8, 4))
    assert count == 0  # a Permute stands between
    np.testing.assert_array_equal(mine, plain)


def branching(x):
    conv = layers.Conv2D(6, 1)(x)
    return layers.Add()([conv, layers.BatchNormalization()(conv)])


def shared(x):
    norm = layers.BatchNormalization()
    return layers.Add()([norm(layers.Conv2D(6, 1)(x)), norm(layers.Conv2D(6, 1)(x))])


def active(x):
    return layers.BatchNormalization()(layers.Conv2D(6, 1, activation="relu")(x))


def across(x):
    return layers.BatchNormalization(axis=1)(layers.Conv2D(6, 1)(x))


def half(x):
    return layers.BatchNormalization()(layers.Conv2D(6, 1, dtype="mixed_bfloat16")(x))


@pytest.mark.parametrize("body", [branching, shared, active, across, half])
def test_leaves_alone(body):
    given = keras.Input((8, 8, 4))
    model = keras.Model(given, layers.Conv2D(2, 1)(body(given)))
    kt.testing.randomize(model)
    mine, plain, count = both(model, images())
    assert count == 0
    np.testing.assert_array_equal(mine, plain)


def test_leaves_outputs_alone():
    given = keras.Input((8, 8, 4))
    conv = layers.Conv2D(6, 1)(given)
    model = keras.Model(given, [conv, layers.Conv2D(2, 1)(layers.BatchNormalization()(conv))])
    kt.testing.randomize(model)
    mine, plain, count = both(model, images())
    assert count == 0
    np.testing.assert_array_equal(mine, plain)


def test_broken_statistics_are_found_in_the_scores():
    model = keras.Sequential([keras.Input((4,)), layers.Dense(6), layers.BatchNormalization(), layers.ReLU(), layers.Dense(1)])
    model.layers[1].moving_variance.assign([-1.0] * 6)
    with pytest.raises(kt.errors.NonFiniteScores):
        kt.score(model, (images(4), np.ones((3, 1), "float32")), loss="mse")


def test_scores_are_those_of_the_weights_as_they_are():
    model = keras.Sequential(
        [
            keras.Input((8, 8, 4)),
            layers.Conv2D(6, 3),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.Flatten(),
            layers.Dense(1),
        ]
    )
    kt.testing.randomize(model)
    data = images(), np.ones((3, 1), "float32")
    before = kt.score(model, data, loss="mse").values
    model.layers[0].set_weights([2 * weight for weight in model.layers[0].get_weights()])
    assert not np.allclose(before, kt.score(model, data, loss="mse").values)
