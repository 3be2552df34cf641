"""`kt.TaylorGate` and `kt.wrap`."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_taylor as kt
from tests import nets

layers = keras.layers


@pytest.mark.parametrize("build", [nets.chain, nets.residual, nets.nested])
def test_a_wrapped_model_computes_the_same_with_the_same_layers(build):
    model = nets.compiled(build())
    wrapped = kt.wrap(model)
    x, _ = nets.images(4)
    np.testing.assert_array_equal(nets.outputs(wrapped, x)[0], nets.outputs(model, x)[0])
    assert {id(w) for w in wrapped.weights} == {id(w) for w in model.weights}
    readers = {layer.layer.name for layer in wrapped.layers if isinstance(layer, kt.TaylorGate)}
    assert readers == {layer.name for layer in model._flatten_layers() if hasattr(layer, "kernel")}


def test_the_probe_holds_the_contributions_of_the_score():
    model = nets.compiled(nets.chain())
    x, y = nets.images(5)
    wrapped = kt.wrap(model)
    gate = next(layer for layer in wrapped.layers if isinstance(layer, kt.TaylorGate) and layer.layer.name == "conv2")
    with tf.GradientTape() as tape, gate.recording(batch=5, channels=6) as probe:
        tape.watch(probe)
        loss = 5 * nets.CROSS_ENTROPY(y, wrapped(tf.constant(x), training=False))
    found = np.abs(tape.gradient(loss, probe).numpy()).mean(axis=0)
    np.testing.assert_allclose(found, kt.score(model, (x, y)).by_layer()["conv1"], rtol=1e-4)


def test_every_function_takes_a_wrapped_model():
    model = nets.compiled(nets.residual())
    wrapped = kt.wrap(model)
    wrapped.compile("sgd", nets.CROSS_ENTROPY)
    data = nets.images(6, classes=3)
    scores = kt.score(wrapped, data)
    np.testing.assert_allclose(scores.values, kt.score(model, data).values, rtol=1e-5)
    small = kt.rebuild(wrapped, kt.plan(scores, kt.Target(macs=0.6)))
    assert not any(isinstance(layer, kt.TaylorGate) for layer in small.layers)


def test_recording_ends_with_its_context():
    gate = kt.TaylorGate(layers.Dense(1))
    with pytest.raises(RuntimeError), gate.recording(batch=1, channels=2):
        raise RuntimeError
    assert gate._probe is None


def test_a_gated_layer_saves_and_loads(tmp_path):
    wrapped = kt.wrap(nets.randomized(nets.chain()))
    wrapped.save(tmp_path / "wrapped.keras")
    loaded = keras.models.load_model(tmp_path / "wrapped.keras")
    x, _ = nets.images(2)
    np.testing.assert_allclose(nets.outputs(loaded, x)[0], nets.outputs(wrapped, x)[0], rtol=1e-6)


def test_wrapping_keeps_the_structure_of_inputs_and_outputs():
    a, b = keras.Input((4,), name="a"), keras.Input((4,), name="b")
    model = keras.Model({"a": a, "b": b}, {"sum": layers.Dense(2)(a + b)})
    feed = {"a": np.ones((2, 4), "float32"), "b": np.zeros((2, 4), "float32")}
    np.testing.assert_array_equal(kt.wrap(model)(feed)["sum"], model(feed)["sum"])


def test_a_name_that_is_used_twice_cannot_stand_in_one_flat_model():
    def block(name):
        return keras.Sequential([keras.Input((4,)), layers.Dense(4, name="same")], name=name)

    inputs = keras.Input((4,))
    model = keras.Model(inputs, block("two")(block("one")(inputs)))
    with pytest.raises(kt.errors.BadInput, match="Layer names of nested models must be unique to wrap"):
        kt.wrap(model)
    assert kt.score(nets.compiled(model), (np.ones((4, 4)), np.zeros(4))).values.shape == (12,)
