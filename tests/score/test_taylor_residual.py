"""`taylor_residual`: what the others predict of a channel counts for nothing, the rest as in `taylor_gate`."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_taylor as kt
from keras_taylor._record.statistics.unpredicted import RIDGE
from tests import nets

layers = keras.layers


def mixture(seed=0):
    """One hidden layer on the inputs themselves: channel 3 is 2 x0 - x1 + 5, the others are inputs; channel 4 is constant."""
    model = keras.Sequential([keras.Input((3,)), layers.Dense(5, name="hidden"), layers.Dense(1, name="out")])
    kernel = np.array([[1, 0, 0, 2, 0], [0, 1, 0, -1, 0], [0, 0, 1, 0, 0]], "float32")
    model.get_layer("hidden").set_weights([kernel, np.array([0, 0, 0, 5, 3], "float32")])
    model.get_layer("out").set_weights([np.random.default_rng(seed).normal(size=(5, 1)), np.zeros(1)])
    return model


def orthogonal(count=64):
    """Inputs with zero mean, of which no two are correlated."""
    rng = np.random.default_rng(1)
    x = np.linalg.qr(np.concatenate([np.ones((count, 1)), rng.normal(size=(count, 3))], 1))[0][:, 1:]
    return (x * np.sqrt(count)).astype("float32")


def scored(model, x, y, criteria=("taylor_residual", "taylor_gate"), **options):
    found = kt.score_all(model, x, y, criteria=list(criteria), verbose=0, **{"loss": "mse", **options})
    return [one.values if len(found) > 1 else one for one in found.values()]


def residuals(z, ridge=RIDGE):
    """By one regression for each column of `z`, of standardised columns."""
    centred = z - z.mean(0)
    size = centred.std(0)
    alike = centred / size
    left = np.empty_like(alike)
    for c in range(z.shape[1]):
        others = np.delete(alike, c, axis=1)
        system = others.T @ others / len(z) + ridge * np.eye(others.shape[1])
        left[:, c] = alike[:, c] - others @ np.linalg.solve(system, others.T @ alike[:, c] / len(z))
    return left * size


def test_a_channel_that_others_predict_is_worth_nothing():
    model, x = mixture(), orthogonal()
    graph = kt.trace(model)
    channels = nets.producer_channels(graph, "hidden")
    residual, gate = (one[channels] for one in scored(model, x, np.ones(64)))
    assert (residual[[0, 1, 3]] < 0.01 * gate[[0, 1, 3]]).all()
    assert residual[4] == 0 < gate[4]


def test_a_channel_that_others_tell_nothing_of_is_worth_what_it_is_to_taylor_gate():
    model, x = mixture(), orthogonal()
    channels = nets.producer_channels(kt.trace(model), "hidden")
    residual, gate = (one[channels] for one in scored(model, x, np.ones(64)))
    np.testing.assert_allclose(residual[2], gate[2], rtol=1e-5)


def test_scores_of_convolutions_are_those_of_numpy():
    """Positions are rows of the regression, and are summed with sign within an example."""
    model = nets.compiled(nets.chain())
    x, y = nets.images(12)
    found = kt.score(model, x, y, criterion="taylor_residual", verbose=0).by_layer()
    for name, reader in {"conv1": "conv2", "conv2": "logits"}.items():
        z, names = x, [layer.name for layer in model.layers]
        for layer in model.layers[: names.index(reader)]:
            z = layer(z)
        with tf.GradientTape() as tape:
            tape.watch(z)
            out = z
            for layer in model.layers[names.index(reader) :]:
                out = layer(out)
            loss = tf.reduce_sum(tf.nn.sparse_softmax_cross_entropy_with_logits(y, out))
        slope, values = (one.numpy().reshape(12, -1, z.shape[-1]).astype(float) for one in (tape.gradient(loss, z), z))
        left = residuals(values.reshape(-1, z.shape[-1])).reshape(values.shape)
        np.testing.assert_allclose(found[name], np.abs((left * slope).sum(1)).mean(0), rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("first", [False, True])
def test_a_flattened_map_is_read_as_a_map(first):
    """A dense layer reads it, channels last or first, as a convolution does that covers it."""
    x = inputs = keras.Input((4, 4, 2))
    x = maps = layers.Conv2D(5, 3, activation="relu", name="maps")(x)
    x = layers.Permute((3, 1, 2))(x) if first else x
    flat = nets.randomized(keras.Model(inputs, layers.Dense(1, name="out")(layers.Flatten()(x))))
    covering = keras.Model(inputs, layers.Flatten()(layers.Conv2D(1, 2, name="covers")(maps)))
    kernel, bias = flat.get_layer("out").get_weights()
    kernel = kernel.reshape(5, 2, 2).transpose(1, 2, 0) if first else kernel.reshape(2, 2, 5)
    covering.get_layer("covers").set_weights([kernel[..., None], bias])
    data = np.random.default_rng(0).normal(size=(9, 4, 4, 2)), np.ones(9)
    one, other = (scored(model, *data, ["taylor_residual"])[0].by_layer()["maps"] for model in (flat, covering))
    np.testing.assert_allclose(one, other, rtol=1e-4)
    assert one.min() > 0


def test_channels_that_are_read_with_others_are_predicted_from_them():
    """After a concatenation, one branch knows what the other does; what occurs less often there is a regression of its own."""
    x = inputs = keras.Input((4, 4, 2))
    maps = [layers.Conv2D(3, 3, name=name)(x) for name in ("left", "right")]
    model = nets.randomized(keras.Model(inputs, layers.Conv2D(1, 1, name="out")(layers.Concatenate()(maps))))
    data = np.random.default_rng(0).normal(size=(9, 4, 4, 2)), np.ones((9, 2, 2, 1))
    apart = scored(model, *data, ["taylor_residual"])[0].by_layer()["right"]
    model.get_layer("right").set_weights([-2 * w for w in model.get_layer("left").get_weights()])
    assert (scored(model, *data, ["taylor_residual"])[0].by_layer()["right"] < 0.1 * apart).all()
    pooled = [layers.Flatten()(maps[0]), layers.GlobalMaxPooling2D()(maps[1])]
    uneven = nets.randomized(keras.Model(inputs, layers.Dense(1, name="out")(layers.Concatenate()(pooled))))
    found = scored(uneven, *data[:1], np.ones(9), ["taylor_residual"])[0].by_layer()
    assert found["left"].min() > 0 and found["right"].min() > 0


@pytest.mark.parametrize("build", [nets.chain, nets.residual])
def test_the_size_of_batches_does_not_matter(build):
    model = nets.compiled(build())
    x, y = nets.images(11)
    one, two, three = (
        kt.score(model, x, y, criterion="taylor_residual", batch_size=size, verbose=0).values for size in (1, 4, 11)
    )
    np.testing.assert_allclose(one, three, rtol=1e-4, atol=1e-7)
    np.testing.assert_allclose(two, three, rtol=1e-4, atol=1e-7)


def test_members_of_a_tied_channel_are_summed_with_sign():
    """Two readers that undo each other leave nothing, as with `taylor_gate`."""
    x = inputs = keras.Input((3,))
    x = layers.Dense(4, name="hidden")(x)
    twice = [layers.Dense(1, use_bias=False, name=name)(x) for name in ("plus", "minus")]
    model = nets.randomized(keras.Model(inputs, layers.Add()(twice)))
    model.get_layer("minus").set_weights([-w for w in model.get_layer("plus").get_weights()])
    data = np.random.default_rng(0).normal(size=(20, 3)).astype("float32"), np.ones(20)
    np.testing.assert_allclose(scored(model, *data, ["taylor_residual"])[0].by_layer()["hidden"], 0, atol=1e-6)
    model.get_layer("minus").set_weights(model.get_layer("plus").get_weights())
    assert scored(model, *data, ["taylor_residual"])[0].by_layer()["hidden"].max() > 1e-3


def test_data_that_can_be_read_once_give_the_same():
    model = nets.compiled(nets.chain())
    x, y = nets.images(8)
    arrays = kt.score(model, x, y, criterion="taylor_residual", batch_size=4, verbose=0)
    for data in (
        tf.data.Dataset.from_tensor_slices((x, y)).batch(4),
        ((x[i : i + 4], y[i : i + 4]) for i in (0, 4)),
        [(x[:4], y[:4]), (x[4:], y[4:])],
    ):
        found = kt.score(model, data, criterion="taylor_residual", verbose=0)
        np.testing.assert_allclose(found.values, arrays.values, rtol=1e-6)
        assert found.settings == arrays.settings


def test_other_criteria_read_the_data_once():
    model = nets.compiled(nets.chain())
    x, y = nets.images(8)
    reads = []

    class Data(keras.utils.PyDataset):
        def __len__(self):
            return 2

        def __getitem__(self, index):
            reads.append(index)
            return x[4 * index : 4 * index + 4], y[4 * index : 4 * index + 4]

    kt.score(model, Data(), labels="given", verbose=0)
    assert reads == [0, 1]
    kt.score(model, Data(), criterion="taylor_residual", labels="given", verbose=0)
    assert reads == [0, 1] * 3


def test_no_labels_are_needed():
    model = nets.compiled(nets.chain())
    x, _ = nets.images(8)
    found = kt.score(model, x, criterion="taylor_residual", verbose=0)
    assert found.settings["labels"] == "sampled" and found.by_layer()["conv1"].any()


def test_activations_that_are_not_finite_are_named():
    model = nets.compiled(nets.chain())
    x, y = nets.images(8)
    x[5] = 1e38
    model.get_layer("conv1").set_weights([w * 100 for w in model.get_layer("conv1").get_weights()])
    with pytest.raises(kt.errors.NonFiniteScores, match=r"Activations must be finite. Received: NaN or .*'?conv2.* in batch 1"):
        kt.score(model, x, y, criterion="taylor_residual", batch_size=4, verbose=0)


def test_inputs_of_another_shape_are_refused():
    model = nets.compiled(nets.chain())
    with pytest.raises(kt.errors.BadInput, match=r"shape"):
        kt.score(model, np.ones((4, 5, 5, 1)), np.zeros(4), criterion="taylor_residual", verbose=0)
