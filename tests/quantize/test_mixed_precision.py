"""Models of mixed and half precision become files by themselves: a float32 twin is made, compared, and exported."""

import keras
import numpy as np
import pytest

import keras_taylor as kt
from keras_taylor._measure.latency_budget import Stopwatch
from tests import nets

layers = keras.layers
X = np.random.default_rng(0).normal(size=(64, 8, 8, 3)).astype("float32")


@pytest.fixture(autouse=True)
def policy():
    before = keras.config.dtype_policy()
    yield
    keras.config.set_dtype_policy(before)


class Halves(layers.Layer):
    """Makes its sublayers by the global policy, and tells no config of them."""

    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        self.units = units
        self.one, self.other = layers.Dense(units, activation="tanh"), layers.Dense(units)

    def build(self, shape):
        self.other.build(shape)
        self.one.build(shape)

    def call(self, x):
        return self.one(x) * self.other(x)

    def get_config(self):
        return {**super().get_config(), "units": self.units}


class Stubborn(Halves):
    """Is of half precision whatever it is asked for."""

    def build(self, shape):
        self.one.dtype_policy = "mixed_float16"
        super().build(shape)


def globally(name):
    keras.config.set_dtype_policy(name)
    body = keras.Sequential(
        [keras.Input((8, 8, 3)), layers.Conv2D(4, 3), layers.BatchNormalization(), layers.ReLU()], name="body"
    )
    inputs = keras.Input((8, 8, 3))
    x = layers.GlobalAveragePooling2D()(body(inputs))
    model = nets.randomized(keras.Model(inputs, layers.Dense(3, dtype="float32")(x)))
    keras.config.set_dtype_policy("float32")
    return model


def by_layer(head=Halves):
    x = inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 3, dtype="mixed_float16")(x)
    x = layers.Conv2D(4, 3, dtype="float16")(keras.ops.cast(x, "float16"))
    x = layers.TimeDistributed(layers.Dense(5, dtype="mixed_bfloat16"), dtype="float32")(x)
    x = layers.GlobalAveragePooling2D()(x)
    keras.config.set_dtype_policy("mixed_float16")
    x = head(4, dtype="mixed_bfloat16")(x)
    keras.config.set_dtype_policy("float32")
    return nets.randomized(keras.Model(inputs, layers.Dense(3)(x), name="by_layer"))


MODELS = {
    "mixed_float16": lambda: globally("mixed_float16"),
    "mixed_bfloat16": lambda: globally("mixed_bfloat16"),
    "float16": lambda: globally("float16"),
    "a policy for each layer": by_layer,
}


@pytest.mark.parametrize("kind", MODELS)
def test_a_model_becomes_a_file(kind, tmp_path):
    model = MODELS[kind]()
    weights, expected = model.get_weights(), nets.outputs(model, X)[0].astype("float32")
    for quantizer in (None, kt.Int8PTQ(X)):
        made = kt.export_tflite(model, tmp_path / "model.tflite", quantizer=quantizer)
        assert np.abs(made.lite()([X])[0] - expected).max() < 0.1 * np.abs(expected).max()
        assert {layer.compute_dtype for layer in made.model._flatten_layers()} == {"float32"} and made.model is not model
    assert made.float_operations == {}
    assert all(np.array_equal(a, b) for a, b in zip(weights, model.get_weights(), strict=True))
    assert keras.config.dtype_policy().name == "float32"


def test_the_twin_has_the_weights():
    """To the last bit, since mixed precision keeps them in float32."""
    model = globally("mixed_float16")
    twin = kt.quantize(model).model
    assert [w.path.split("/")[-2:] for w in twin.weights] == [w.path.split("/")[-2:] for w in model.weights]
    assert all(np.array_equal(a, b) for a, b in zip(twin.get_weights(), model.get_weights(), strict=True))


def test_where_mixed_precision_is_still_the_policy():
    model = by_layer()
    keras.config.set_dtype_policy("mixed_float16")
    assert kt.quantize(model).max_relative_error < 1e-3
    assert keras.config.dtype_policy().name == "mixed_float16"


def test_training_for_8_bits():
    model, y = globally("mixed_float16"), np.arange(64) % 3
    model.compile("adam", nets.CROSS_ENTROPY)
    model.fit(X, y, epochs=1, verbose=0)  # with scaled losses
    made = kt.quantize(model, kt.Int8QAT((X, y), epochs=1, learning_rate=1e-5), verbose=0)
    expected = nets.outputs(model, X)[0]
    assert np.abs(made.lite()([X])[0] - expected).max() < 0.2 * np.abs(expected).max()


def test_a_layer_that_does_not_follow_is_named():
    with pytest.raises(kt.errors.UnsupportedModel, match=r"'stubborn' \(Stubborn\) must be made again in float32"):
        kt.quantize(by_layer(Stubborn))


def test_latencies(tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_TAYLOR_CACHE", str(tmp_path))
    model = globally("mixed_float16")
    stopwatch = Stopwatch(kt.trace(model), kt.Target(latency=0.9))
    assert stopwatch.dense.fastest_ms > 0
