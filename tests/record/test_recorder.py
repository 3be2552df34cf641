"""Scoring leaves nothing behind on the model: when it works, when the labels are wrong, when the model raises."""

import keras
import numpy as np
import pytest

import keras_taylor as kt
from keras_taylor.criteria import MeanOverExamples
from tests import nets

layers = keras.layers


@keras.saving.register_keras_serializable("tests")
class Raises(layers.Layer):
    """Raises on real data, once the class is armed (copies of the model have a layer of their own)."""

    armed = False

    def call(self, x):
        if self.armed and not isinstance(x, keras.KerasTensor):
            raise RuntimeError("the layer raises")
        return x


def flat(middle=None):
    x = inputs = keras.Input((8, 8, 3), name="image")
    x = layers.Conv2D(4, 3, name="conv")(x)
    x = layers.BatchNormalization(name="bn")(x)
    x = layers.Dropout(0.5, name="drop")(x)
    if middle is not None:
        x = middle(x)
    x = layers.Conv2D(4, 1, activation="relu", name="conv2")(x)
    return keras.Model(inputs, layers.Dense(2, name="logits")(layers.GlobalAveragePooling2D()(x)))


def within(middle=None):
    inner = flat(middle)
    body = keras.Model(inner.inputs, inner.get_layer("conv2").output, name="body")
    x = inputs = keras.Input((8, 8, 3))
    return keras.Model(inputs, layers.Dense(2, name="out")(layers.GlobalAveragePooling2D()(body(x))))


def trained(build, middle=None):
    """A compiled model that has been trained for two steps: optimizer slots, metrics and statistics are not at zero."""
    model = build(middle)
    model.compile("adam", nets.CROSS_ENTROPY, metrics=["accuracy"])
    model.fit(*nets.images(8), batch_size=4, verbose=0)
    return model


USES = {
    "score": lambda model, data: kt.score(model, data, batch_size=4),
    "score eq. 8": lambda model, data: kt.score(model, data, criterion="taylor", batch_size=4),
    "prune": lambda model, data: kt.prune(model, data, target=kt.Target(params=0.95)),
    "fit_with_pruning": lambda model, data: kt.fit_with_pruning(
        model, *data, target=kt.Target(params=0.95), epochs=1, verbose=0
    ),
}


@pytest.mark.parametrize("build", [flat, within])
@pytest.mark.parametrize("use", USES)
def test_nothing_is_left_behind(use, build):
    model = trained(build)
    before = nets.state(model)
    USES[use](model, nets.images(8))
    nets.assert_same_state(before, nets.state(model))
    assert not any(isinstance(layer, kt.TaylorGate) for layer in model._flatten_layers())


@pytest.mark.parametrize("build", [flat, within])
@pytest.mark.parametrize("use", USES)
def test_nothing_is_left_behind_after_wrong_labels(use, build):
    model = trained(build)
    before = nets.state(model)
    x, _ = nets.images(8)
    with pytest.raises(Exception, match=r"(?i)shape|rank|dimension|logits"):
        USES[use](model, (x, np.zeros((8, 3, 5), "float32")))
    nets.assert_same_state(before, nets.state(model))


@pytest.mark.parametrize("build", [flat, within])
@pytest.mark.parametrize("use", USES)
def test_nothing_is_left_behind_when_the_model_raises(use, build, monkeypatch):
    model = trained(build, Raises(name="raises"))
    before = nets.state(model)
    monkeypatch.setattr(Raises, "armed", True)
    with pytest.raises(RuntimeError, match="the layer raises"):
        USES[use](model, nets.images(8))
    nets.assert_same_state(before, nets.state(model))


def test_the_model_trains_on_as_if_it_had_not_been_scored():
    runs = []
    for scored in (False, True):
        keras.utils.set_random_seed(1)
        model = flat()
        model.compile("adam", nets.CROSS_ENTROPY)
        if scored:
            kt.score(model, nets.images(8))
        keras.utils.set_random_seed(2)
        model.fit(*nets.images(8), batch_size=4, shuffle=False, verbose=0)
        runs.append(model.get_weights())
    for a, b in zip(*runs, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_map_sizes_are_those_at_birth():
    """The paper's M: conv1 has 6 x 6 positions, conv2 4 x 4, the logits one."""
    from keras_taylor._record.map_sizes import map_sizes

    graph = kt.trace(nets.chain())
    sizes = map_sizes(graph)
    for name, positions in (("conv1", 6 * 6), ("conv2", 4 * 4), ("logits", 1)):
        assert set(sizes[nets.producer_channels(graph, name)]) == {positions}


def test_sums_of_squares_and_gradients_by_hand():
    """Activations 1, 2, 3 and their negatives; the mean over the positions of 2 a - 5 b is the loss."""
    model = keras.Sequential([keras.Input((3, 1)), layers.Conv1D(2, 1, use_bias=False, name="conv")])
    model.add(layers.Conv1D(1, 1, use_bias=False, name="reader"))
    model.add(layers.GlobalAveragePooling1D())
    model.get_layer("conv").set_weights([np.array([[[1.0, -1.0]]])])
    model.get_layer("reader").set_weights([np.array([[[2.0], [-5.0]]])])
    data = np.array([[[1.0], [2.0], [3.0]]] * 2, "float32"), np.zeros((2, 1), "float32")
    expected = {
        "gradient": [2.0, 5.0],
        "gradient_square": [4 / 3, 25 / 3],
        "activation_square": [14.0, 14.0],
        "contribution": [4.0, 10.0],
    }

    for name, values in expected.items():

        class Look(MeanOverExamples):
            needs = frozenset({name})

            def each(self, record, statistic=name):
                return getattr(record, statistic)

        model.compile(loss=lambda y, p: p[:, 0])
        found = kt.score(model, data, criterion=Look(), verbose=0).by_layer()["conv"]
        np.testing.assert_allclose(found, values, rtol=1e-6)
