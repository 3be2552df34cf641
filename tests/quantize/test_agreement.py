"""A file's outputs channel by channel: quantities of different size that share one scale."""

import keras
import numpy as np
import pytest

import keras_taylor as kt
from tests import nets

layers = keras.layers
X = np.random.default_rng(0).normal(size=(64, 8)).astype("float32")
IMAGES = np.random.default_rng(1).normal(size=(48, 8, 8, 3)).astype("float32")


def boxes_and_scores():
    """A detector: for every place four edges in pixels and three scores."""
    x = inputs = keras.Input((8, 8, 3), name="image")
    x = layers.Conv2D(8, 3, activation="relu")(x)
    boxes = layers.Rescaling(640.0)(layers.Conv2D(4, 1, activation="sigmoid")(x))
    scores = layers.Conv2D(3, 1, activation="sigmoid")(x)
    return (
        nets.randomized(keras.Model(inputs, layers.Concatenate(name="found")([boxes, scores]), name="detector")),
        IMAGES,
        (4, 5, 6),
    )


def two_heads():
    """Shares and grams, each from a Dense layer of its own."""
    inputs = keras.Input((8,))
    x = layers.Dense(16, activation="relu")(inputs)
    grams = layers.Dense(2, name="grams")
    model = nets.randomized(keras.Model(inputs, layers.Concatenate()([layers.Dense(2)(x), grams(x)])))
    grams.kernel.assign(2000 * grams.kernel)
    return model, X, (0, 1)


def rescaled():
    """Millimetres, metres and kilometres."""
    x = layers.Dense(3)(inputs := keras.Input((8,)))
    return nets.randomized(keras.Model(inputs, layers.Rescaling([1000.0, 1.0, 0.001])(x))), X, (1, 2)


def weights():
    """One Dense layer, whose columns differ."""
    model = nets.randomized(keras.Sequential([keras.Input((8,)), layers.Dense(4)]))
    kernel, bias = model.layers[-1].get_weights()
    model.layers[-1].set_weights([kernel * [1e5, 1, 1e5, 1], bias * [1e5, 1, 1e5, 1]])
    return model, X, (1, 3)


INSTANCES = [boxes_and_scores, two_heads, rescaled, weights]


@pytest.mark.parametrize("instance", INSTANCES)
def test_channels_that_one_scale_takes_away_are_an_error(instance):
    model, x, lost = instance()
    with pytest.raises(kt.errors.ExportMismatch, match=r"must vary in the int8_ptq.*allow_constant_channels=True") as error:
        kt.quantize(model, kt.Int8PTQ(x))
    assert f"channels {', '.join(map(str, lost))} are constant" in str(error.value)
    assert "outputs of their own" in str(error.value) and "Int16x8PTQ" in str(error.value) and "QAT" not in str(error.value)
    assert kt.quantize(model).checks[0].constant == ()


def test_accepted(tmp_path):
    model, x, lost = boxes_and_scores()
    quantizer = kt.Int8PTQ(x, allow_constant_channels=True)
    made = kt.export_tflite(model, tmp_path / "model.tflite", quantizer=quantizer)
    (check,) = made.checks
    assert check.name == "found" and check.constant == lost and made.max_relative_error == check.error < 0.02
    assert [error > 0.4 for error in check.channels] == [False] * 4 + [True] * 3
    assert "constant: 3 of 7 channels" in str(made)
    (noted,) = kt.litert.read_note(tmp_path / "model.tflite")["check"]
    assert (noted["constant_channels"], noted["first_constant_channels"]) == (3, [4, 5, 6])
    assert quantizer != kt.Int8PTQ(x) and quantizer.settings()["allow_constant_channels"]


def test_outputs_of_their_own_are_what_helps():
    model, x, _ = boxes_and_scores()
    apart = keras.Model(model.inputs, model.layers[-1].input)
    assert [check.constant for check in kt.quantize(apart, kt.Int8PTQ(x)).checks] == [(), ()]


def test_training_does_not_hide_it():
    """With rounding simulated, the trained model loses them, too."""
    model, x, _ = weights()
    with pytest.raises(kt.errors.ExportMismatch, match="must vary in the int8_qat file"):
        kt.quantize(model, kt.Int8QAT((x, np.zeros((64, 4))), epochs=0, loss="mse"), verbose=0)


def test_two_steps_are_no_range():
    model = nets.randomized(keras.Sequential([keras.Input((8,)), layers.Dense(3), layers.Rescaling([60.0, 1.0, 1.0])]))
    with pytest.warns(UserWarning, match=r"channels 2 of output .* are off by up to .* of their own range"):
        made = kt.quantize(model, kt.Int8PTQ(X))
    assert made.checks[0].constant == ()


class TestWhatIsNoLoss:
    def test_classes_that_do_not_occur(self):
        """A probability below a step of 1/256 is small, not lost."""
        model = keras.Sequential([keras.Input((8,)), layers.Dense(100, activation="softmax")])
        model.layers[-1].bias.assign([0] * 90 + [-8] * 10)
        made = kt.quantize(model, kt.Int8PTQ(X, io="uint8"))
        assert (np.ptp(made.lite()([X])[0], 0) == 0).any() and made.checks[0].constant == ()

    @pytest.mark.parametrize("last", ["sigmoid", "tanh"])
    def test_rare_labels(self, last):
        model = keras.Sequential([keras.Input((8,)), layers.Dense(6, activation=last), layers.Reshape((2, 3))])
        kernel, bias = model.layers[0].get_weights()
        model.layers[0].set_weights([kernel * [1, 1, 1, 1, 1, 1e-3], bias - [0, 0, 0, 0, 0, 6 * (last == "sigmoid")]])
        assert kt.quantize(model, kt.Int8PTQ(X)).checks[0].constant == ()

    def test_rounding_of_float32(self):
        """A channel whose weights are zero but for what float32 does not resolve beside its bias."""
        model = nets.randomized(keras.Sequential([keras.Input((8,)), layers.Dense(3)]))
        kernel, bias = model.layers[0].get_weights()
        model.layers[0].set_weights([kernel * [1, 1e-7, 1], np.add(bias, [0, 5, 0])])
        assert kt.quantize(model, kt.Int8PTQ(X)).checks[0].constant == ()

    def test_one_value_per_example(self):
        inputs = keras.Input((8,))
        model = nets.randomized(keras.Model(inputs, keras.ops.squeeze(layers.Dense(1)(inputs), -1)))
        assert len(kt.quantize(model).checks[0].channels) == 1
