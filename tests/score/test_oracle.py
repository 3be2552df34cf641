"""The oracle against one full forward pass per channel, and what can be done with it."""

import keras
import numpy as np
import pytest

import keras_taylor as kt
from keras_taylor._rebuild.verify import silenced
from keras_taylor._score import channel_subtraction, oracle
from tests import nets
from tests.score.test_score_all import branched

layers = keras.layers


def slow(model, x, y, loss, weight=None):
    """One full forward pass per channel, without anything shared."""
    graph, changes = kt.trace(model), []

    def mean_loss(keep):
        outputs = silenced(graph, graph.keep_labels(keep), [x])
        each = loss(y, outputs[0]) if weight is None else loss(y, outputs[0], sample_weight=weight)
        return float(each)

    everything = np.ones(graph.channels, bool)
    for channel in range(graph.channels):
        keep = everything.copy()
        keep[channel] = graph.locks[channel] != ""
        changes.append(mean_loss(keep) - mean_loss(everything))
    return np.array(changes)


def noting(method, names):
    """The method, which notes what calls it is for."""

    def noted(self, *args):
        names.add(self.call.name)
        return method(self, *args)

    return noted


def folded():
    """Rows go into the batch axis and come back."""
    inputs = keras.Input((4, 3))
    x = layers.Dense(5, activation="relu", name="first")(inputs)
    x = layers.Dense(4, name="second")(keras.ops.reshape(x, (-1, 5)))
    x = keras.ops.reshape(x, (-1, 4, 4))
    return keras.Model(inputs, layers.Dense(3)(layers.Flatten()(x)))


def grouped():
    """A convolution whose groups lose the same positions."""
    made = [layers.Conv2D(8, 3, activation="relu"), layers.Conv2D(6, 3, groups=2, activation="relu"), layers.Conv2D(4, 1)]
    return keras.Sequential([keras.Input((6, 6, 3)), *made, layers.GlobalAveragePooling2D(), layers.Dense(3)])


NETS = {
    "branched": (branched, (4, 4, 2)),
    "residual": (nets.residual, (8, 8, 3)),
    "folded": (folded, (4, 3)),
    "grouped": (grouped, (6, 6, 3)),
}


@pytest.mark.parametrize("name", NETS)
def test_it_is_what_a_full_forward_pass_finds(name):
    build, shape = NETS[name]
    model = nets.compiled(build())
    x, y = nets.images(7, classes=3, shape=shape)
    found = kt.oracle(model, x, y, batch_size=3, verbose=0)
    expected = slow(model, x, y, nets.CROSS_ENTROPY)
    np.testing.assert_allclose(found.values, expected, rtol=1e-3, atol=2e-6)
    np.testing.assert_allclose(found.absolute().values, np.abs(expected), rtol=1e-3, atol=2e-6)
    assert (expected > 1e-3).any() and (expected < -1e-3).any()
    assert (found.values[found.graph.locks != ""] == 0).all() and (found.graph.locks != "").any()
    assert found.criterion == "oracle" and found.absolute().criterion == "oracle_absolute"


def windows(conv, rank, **second):
    """Windows of every kind, with activations inside the layers, positions that are flattened, and batch norm between."""
    return keras.Sequential(
        [
            keras.Input((7,) * rank + (2,)),
            conv(3, 2, activation="relu", name="first"),
            conv(4, 3, padding="same", activation=layers.ReLU(), use_bias=False, name="second", **second),
            layers.BatchNormalization(),
            conv(3, 2, dilation_rate=2, name="third"),
            layers.LeakyReLU(),
            layers.Flatten(),
            layers.Dense(4, activation="tanh", name="hidden"),
            layers.Dense(3),
        ]
    )


def causal():
    conv = layers.Conv1D
    made = [conv(4, 2, activation="relu"), conv(3, 3, padding="causal", dilation_rate=2, activation="gelu"), conv(3, 1)]
    return keras.Sequential([keras.Input((7, 2)), *made, layers.GlobalAveragePooling1D(), layers.Dense(3)])


def turned():
    """Transposed convolutions, and products whose kernels are the other way round."""
    made = [layers.Conv2D(4, 2, activation="relu"), layers.Conv2DTranspose(3, 3, strides=2, activation="relu")]
    made += [layers.Dense(5, activation="relu"), layers.EinsumDense("...x,yx->...y", 4, bias_axes="y", activation="tanh")]
    return keras.Sequential([keras.Input((4, 4, 2)), *made, layers.Conv2D(3, 3), layers.GlobalMaxPooling2D(), layers.Dense(3)])


def read_twice():
    """One layer reads channels in two branches; channels have several positions, and not all of them as many."""
    inputs = keras.Input((4, 4, 2))
    x = layers.Conv2D(3, 3, padding="same", activation="relu", name="stem")(inputs)
    y = layers.Conv2D(2, 3, padding="same", activation="relu", name="other")(inputs)
    shared = layers.Conv2D(4, 3, padding="same", activation="relu", name="shared")
    pooled = layers.AveragePooling2D(3, 1, "same")(x)
    both = layers.Concatenate()([shared(x), shared(pooled), layers.Conv2D(2, 1, name="side")(x)])
    again = layers.Conv2D(3, 1, name="again")(layers.Concatenate()([x, y, layers.MaxPooling2D(3, 1, "same")(x)]))
    return keras.Model(inputs, layers.Dense(3)(layers.Flatten()(layers.Concatenate()([both, again]))))


SHORT = {
    "1d": (lambda: windows(layers.Conv1D, 1, strides=2), (7, 2)),
    "2d": (lambda: windows(layers.Conv2D, 2, strides=(2, 1)), (7, 7, 2)),
    "3d": (lambda: windows(layers.Conv3D, 3, strides=2), (7, 7, 7, 2)),
    "causal": (causal, (7, 2)),
    "turned": (turned, (4, 4, 2)),
    "read twice": (read_twice, (4, 4, 2)),
}


@pytest.mark.parametrize("name", SHORT)
def test_readers_that_are_not_computed_anew(name, monkeypatch):
    build, shape = SHORT[name]
    model = nets.compiled(build())
    x, y = nets.images(6, classes=3, shape=shape)
    taken_out = set()
    monkeypatch.setattr(
        channel_subtraction.ChannelSubtraction, "__call__", noting(channel_subtraction.ChannelSubtraction.__call__, taken_out)
    )
    found = kt.oracle(model, (x, y))
    graph = found.graph
    free = {id(step): (graph.locks[graph.channel[step.inputs[0].ids]] == "").any() for step in graph.steps if step.consumes}
    assert taken_out == {step.call.name for step in graph.steps if free.get(id(step))}
    expected = slow(model, x, y, nets.CROSS_ENTROPY)
    np.testing.assert_allclose(found.values, expected, rtol=1e-3, atol=1e-6)
    assert np.abs(expected).max() > 1e-3


def test_small_runs_are_the_same(monkeypatch):
    model, data = nets.compiled(branched()), nets.images(20, classes=3, shape=(4, 4, 2))
    whole = kt.oracle(model, data).values
    monkeypatch.setattr("keras_taylor._score.oracle._ELEMENTS", 1)
    np.testing.assert_allclose(kt.oracle(model, data).values, whole, rtol=1e-3, atol=1e-6)


def test_a_channel_that_is_zero_changes_nothing_and_is_not_run(monkeypatch):
    model, data = nets.compiled(nets.chain()), nets.images(5)
    kernel, bias = model.get_layer("conv1").get_weights()
    bias[2] = -1e6
    model.get_layer("conv1").set_weights([kernel, bias])
    assert kt.oracle(model, data).by_layer()["conv1"][2] == 0
    assert (kt.oracle(model, data).by_layer()["conv1"][[0, 1, 3]] != 0).all()


@pytest.mark.parametrize("bias", [1e7, np.inf])
def test_a_channel_beside_which_the_others_are_nothing(bias):
    """What is left of a sum without it has no digits, or is not a number."""
    model = nets.compiled(
        keras.Sequential(
            [
                keras.Input((4,)),
                layers.Dense(4, activation="relu", name="hidden"),
                layers.Dense(5, activation="sigmoid", name="reader"),
                layers.Dense(3),
            ]
        )
    )
    kernel, values = model.get_layer("hidden").get_weights()
    values[1] = bias
    model.get_layer("hidden").set_weights([kernel, values])
    kernel, values = model.get_layer("reader").get_weights()
    model.get_layer("reader").set_weights([np.abs(kernel), values])
    x, y = nets.images(6, classes=3, shape=(4,))
    found, expected = kt.oracle(model, (x, y)), slow(model, x, y, nets.CROSS_ENTROPY)
    np.testing.assert_allclose(found.values, expected, rtol=1e-4, atol=1e-6)
    assert abs(found.by_layer()["hidden"][1]) > 1e-3


def test_in_half_precision_every_reader_is_computed_anew(monkeypatch):
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = nets.compiled(nets.residual())
    finally:
        keras.config.set_dtype_policy("float32")
    monkeypatch.delattr(oracle.ChannelSubtraction, "__call__")
    x, y = nets.images(6, classes=3)
    found, expected = kt.oracle(model, (x, y)).values, slow(model, x, y, nets.CROSS_ENTROPY)
    np.testing.assert_allclose(found, expected, atol=1e-2 * np.abs(expected).max())


def test_weights_of_examples_and_classes():
    model, (x, y) = nets.compiled(nets.chain()), nets.images(6)
    weight = np.array([1, 2, 0, 1, 3, 1], "float32")
    rows = np.repeat(np.arange(6), weight.astype(int))
    weighted = kt.oracle(model, (x, y, weight)).values * 6
    repeated = kt.oracle(model, (x[rows], y[rows])).values * len(rows)
    np.testing.assert_allclose(weighted, repeated, rtol=1e-3, atol=1e-6)
    by_class = kt.oracle(model, (x, y), class_weight={1: 3.0}).values
    by_sample = kt.oracle(model, (x, y, np.where(y == 1, 3.0, 1.0).astype("float32"))).values
    np.testing.assert_allclose(by_class, by_sample, rtol=1e-5)


class Custom(keras.Model):
    """Halves its loss."""

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        return 0.5 * keras.ops.mean(nets.CROSS_ENTROPY(y, y_pred))


def test_an_overridden_loss():
    plain, data = nets.compiled(nets.chain()), nets.images(5)
    model = Custom(plain.inputs, plain.outputs)
    model.compile("sgd")
    expected = kt.oracle(plain, data).values / 2
    np.testing.assert_allclose(kt.oracle(model, data).values, expected, rtol=1e-3, atol=1e-6)


def test_several_outputs():
    inputs = keras.Input((4,))
    x = layers.Dense(3, name="hidden")(inputs)
    model = keras.Model(inputs, {"kind": layers.Dense(2, name="kind")(x), "size": layers.Dense(2, name="size")(x)})
    nets.compiled(model, {"kind": nets.CROSS_ENTROPY, "size": "mse"}, loss_weights={"kind": 0.5, "size": 2.0})
    rng = np.random.default_rng(0)
    x, labels = rng.normal(size=(5, 4)).astype("float32"), {"kind": np.array([0, 1, 1, 0, 1]), "size": np.ones((5, 2))}
    found = kt.oracle(model, (x, labels)).by_layer()["hidden"]
    before = model.evaluate(x, labels, verbose=0)[0]
    for unit in range(3):
        kernel, bias = model.get_layer("hidden").get_weights()
        silent = kernel.copy(), bias.copy()
        silent[0][:, unit] = silent[1][unit] = 0
        model.get_layer("hidden").set_weights(silent)
        np.testing.assert_allclose(found[unit], model.evaluate(x, labels, verbose=0)[0] - before, rtol=1e-3, atol=1e-5)
        model.get_layer("hidden").set_weights([kernel, bias])


def test_nothing_is_left_behind():
    model, data = nets.compiled(nets.residual(), metrics=["accuracy"]), nets.images(6, classes=3)
    model.fit(*data, verbose=0)
    before = nets.state(model)
    kt.oracle(model, data)
    nets.assert_same_state(before, nets.state(model))


def test_it_is_saved_loaded_and_planned_with(tmp_path):
    model, data = nets.compiled(nets.residual()), nets.images(6, classes=3)
    found = kt.oracle(model, data)
    found.save(tmp_path / "oracle.json")
    loaded = kt.Scores.load(tmp_path / "oracle.json", model)
    np.testing.assert_array_equal(loaded.values, found.values)
    assert loaded.settings == {"examples": 6, "seed": 0}
    plan = kt.plan(loaded.absolute(), kt.Target(macs=0.6))
    assert plan.after["macs"] <= 0.6 * plan.before["macs"]
    with pytest.raises(kt.errors.PlanMismatch, match=r"Scores must be of this model. Received: scores of 'residual'"):
        kt.Scores.load(tmp_path / "oracle.json", nets.chain())
    assert loaded.criterion == "oracle" and str(loaded) == str(found)
    (tmp_path / "bad.json").write_text("[]")
    with pytest.raises(kt.errors.BadInput, match=r"Scores must be JSON as Scores.save writes it"):
        kt.Scores.load(tmp_path / "bad.json", model)


def test_bad_input():
    model, (x, y) = nets.compiled(nets.chain()), nets.images(4)
    with pytest.raises(kt.errors.BadInput, match=r"x must be given for the oracle. Received: None"):
        kt.oracle(model, None)
    with pytest.raises(kt.errors.BadInput, match="x must have labels"):
        kt.oracle(model, x)
    with pytest.raises(kt.errors.BadInput, match="Inputs must be finite"):
        kt.oracle(model, (x * np.nan, y))
    kernel, bias = model.get_layer("logits").get_weights()
    model.get_layer("logits").set_weights([kernel * np.nan, bias])
    with pytest.raises(kt.errors.NonFiniteScores, match="in batch 0, and in the weights of logits"):
        kt.oracle(model, (x, y))
