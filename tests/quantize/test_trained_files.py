"""Files of quantization-aware training: integer throughout, no worse than calibration alone, and they say what was kept."""

import re

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_taylor as kt
from keras_taylor._rebuild.verify import relative_error
from keras_taylor.quantizers import _training
from keras_taylor.quantizers._held_back import HeldBack
from keras_taylor.quantizers._tf_keras_bridge import Bridge, libraries
from tests import nets

layers = keras.layers
RNG = np.random.default_rng(0)

INTEGER = {
    "Conv1D": ((12, 5), layers.Conv1D(6, 3)),
    "Conv1D, dilated": ((12, 5), layers.Conv1D(6, 3, dilation_rate=2)),
    "DepthwiseConv1D": ((12, 5), layers.DepthwiseConv1D(3)),
    "SeparableConv1D": ((12, 5), layers.SeparableConv1D(6, 3)),
    "Conv1DTranspose": ((6, 5), layers.Conv1DTranspose(6, 3, strides=2)),
    "Conv2D, dilated": ((8, 8, 5), layers.Conv2D(6, 3, dilation_rate=2, padding="same")),
    "DepthwiseConv2D, dilated": ((8, 8, 5), layers.DepthwiseConv2D(3, dilation_rate=2, padding="same")),
    "Conv2DTranspose": ((6, 6, 5), layers.Conv2DTranspose(6, 3, strides=2)),
    "Conv2D, grouped": ((8, 8, 4), layers.Conv2D(8, 3, groups=2)),
    "Dense": ((8,), layers.Dense(6)),
    "Dense on a sequence": ((4, 8), layers.Dense(6)),
    "EinsumDense": ((4, 8), layers.EinsumDense("abc,cd->abd", (None, 6), bias_axes="d")),
}


@pytest.mark.parametrize("kind", INTEGER)
def test_normalisation_after_each_kind_of_layer(kind):
    """What TFMOT's conversion left in float, for BatchNormalization did not fuse: CONV_2D, MUL, ADD."""
    shape, layer = INTEGER[kind]
    net = nets.randomized(keras.Sequential([keras.Input(shape), layer, layers.BatchNormalization(), layers.ReLU()]))
    x = RNG.normal(size=(32, *shape)).astype("float32")
    made = kt.quantize(net, kt.Int8QAT((x, nets.outputs(net, x)[0]), loss="mse", epochs=0, io="int8"), verbose=0)
    assert made.float_operations == {}
    assert made.max_relative_error < 0.1


SPREAD = {
    "DepthwiseConv2D": ((8, 8, 6), layers.DepthwiseConv2D(3, depth_multiplier=2), (2, 3)),
    "DepthwiseConv1D": ((12, 6), layers.DepthwiseConv1D(3), (1, 2)),
    "Conv2DTranspose": ((4, 4, 5), layers.Conv2DTranspose(6, 3, strides=2), (2,)),
    "Conv1D": ((12, 5), layers.Conv1D(6, 3), (2,)),
    "Dense": ((8,), layers.Dense(6), (1,)),
    "EinsumDense": ((4, 8), layers.EinsumDense("abc,dc->abd", (None, 6)), (0,)),
}


@pytest.mark.parametrize("kind", SPREAD)
def test_training_rounds_as_the_file_does(kind):
    """Each output channel of a kernel has a scale of its own. With one for all, the small channels would be zero."""
    shape, layer, axes = SPREAD[kind]
    net = nets.randomized(keras.Sequential([keras.Input(shape), layer, layers.BatchNormalization()]))
    kernel = layer.kernel
    kernel.assign(RNG.normal(size=kernel.shape))
    spread = [kernel.shape[axis] if axis in axes else 1 for axis in range(len(kernel.shape))]
    scales = 10 ** np.linspace(-3, 0, int(np.prod(spread)))
    kernel.assign(kernel * scales.reshape(spread))
    x = RNG.normal(size=(64, *shape)).astype("float32")
    norm, values = net.layers[-1], layer(x).numpy()
    norm.epsilon = 1e-12
    norm.moving_mean.assign(values.mean(tuple(range(values.ndim - 1))))
    norm.moving_variance.assign(values.var(tuple(range(values.ndim - 1))))
    graph = kt.trace(net)
    plain, bridge = Bridge(graph), Bridge(graph, quantized=True)
    _training.settle(plain, bridge, [x], 32)
    file = kt.quantize(net, kt.Int8PTQ(x)).lite()([x])
    assert relative_error(file, _training.outputs(bridge.model, [x])) < 0.012  # about two of 255 steps


def test_a_channel_of_zeros_is_rounded_to_zero():
    quantizer = libraries().PerChannel((1,))
    kernel = np.array([[0.0, 1.0], [0.0, -0.5]], "float32")
    ranges = {"min_var": tf.Variable(tf.zeros(2)), "max_var": tf.Variable(tf.zeros(2))}
    np.testing.assert_allclose(quantizer(tf.constant(kernel), True, ranges), [[0, 1], [0, -0.5]], atol=0.5 / 127)


@pytest.fixture
def net():
    made = nets.randomized(nets.residual())
    made.compile("sgd", nets.CROSS_ENTROPY)
    return made


@pytest.fixture(scope="module")
def data():
    x = RNG.normal(size=(80, 8, 8, 3)).astype("float32")
    return x, (x.mean((1, 2, 3)) > 0).astype(int)


class TestChoice:
    """The best epoch by held-back examples, or the weights before training."""

    def test_training_that_harms_is_undone(self, net, data):
        x, _ = data
        y = np.random.default_rng(1).integers(0, 3, len(x))
        made = kt.quantize(net, kt.Int8QAT((x, y), epochs=2, learning_rate=0.5), verbose=0)
        assert made.weights.startswith("those before training: held-back loss ")
        assert all(np.array_equal(a, b) for a, b in zip(net.get_weights(), made.model.get_weights(), strict=True))
        np.testing.assert_array_equal(made.lite()([x])[0], kt.quantize(net, kt.Int8PTQ((x, y))).lite()([x])[0])

    def test_an_epoch_that_silences_a_layer_is_not_kept(self, net):
        """LiteRT ends the process on the scale of a tensor that is always zero; these labels made training do that."""
        x = np.random.default_rng(0).normal(size=(80, 8, 8, 3)).astype("float32")
        y = np.random.default_rng(0).integers(0, 3, len(x))
        made = kt.quantize(net, kt.Int8QAT((x, y), epochs=2, learning_rate=0.5), verbose=0)
        assert made.weights.startswith(("those before training", "of epoch")) and np.isfinite(made.lite()([x])[0]).all()

    def test_the_best_epoch_is_kept(self, net, data, monkeypatch):
        """The second one of three, whose weights are not those of the third."""
        losses = iter([3.0, 2.0, 1.0, 5.0, 3.0, 2.0, 1.0])
        kept = []
        monkeypatch.setattr(_training, "_mean", lambda total, examples: kept.append(total) or next(losses))
        made = kt.quantize(net, kt.Int8QAT(data, epochs=3, learning_rate=1e-2), verbose=0)
        assert made.weights == "of epoch 2 of 3: held-back loss 1, calibrated alone 3 (8 examples)"
        two = kt.quantize(net, kt.Int8QAT(data, epochs=2, learning_rate=1e-2), verbose=0)
        assert all(np.allclose(a, b, atol=1e-4) for a, b in zip(two.model.get_weights(), made.model.get_weights(), strict=True))
        assert len(kept) == 7

    def test_a_loss_that_is_no_number_is_the_worst(self):
        assert _training._mean(float("nan"), 4) == np.inf and _training._mean(8.0, 4) == 2.0

    def test_it_is_said(self, net, data, tmp_path, capsys):
        made = kt.quantize(net, kt.Int8QAT(data, epochs=1, learning_rate=1e-2))
        printed = capsys.readouterr().out
        assert "held_back_loss" in printed and f"Weights kept: {made.weights}" in printed
        assert re.search(r"weights +\S", str(made))
        assert made.save(tmp_path / "made.tflite").note["weights"] == made.weights
        assert kt.quantize(net).weights == "" and "weights" not in kt.quantize(net).save(tmp_path / "other.tflite").note


class Sequence(keras.utils.PyDataset):
    def __init__(self, x, y):
        super().__init__()
        self.x, self.y = x, y

    def __len__(self):
        return -(-len(self.x) // 5)

    def __getitem__(self, index):
        return self.x[5 * index : 5 * index + 5], self.y[5 * index : 5 * index + 5]


class TestHeldBack:
    X, Y = np.arange(100.0, dtype="float32")[:, None], np.arange(100)
    FORMS = {
        "arrays": (X, Y),
        "tf.data": tf.data.Dataset.from_tensor_slices((X, Y)).batch(5),
        "PyDataset": Sequence(X, Y),
    }

    @pytest.mark.parametrize("form", ["arrays", "tf.data", "PyDataset"])
    def test_a_tenth_is_not_trained_on(self, form):
        data = HeldBack(self.FORMS[form], 5, None, seed=0)
        held = np.concatenate([y for _, y, _ in data.batches])
        epochs = [np.concatenate([y for _, y, _ in data.epoch(number)]) for number in (0, 1)]
        assert data.examples == len(held) == 10 and data.steps == 18
        assert all(sorted([*held, *epoch]) == list(range(100)) for epoch in epochs)
        assert form != "arrays" or not np.array_equal(*epochs)

    def test_an_endless_data_set_goes_on_where_it_stopped(self):
        data = HeldBack(self.FORMS["tf.data"].repeat(), 5, 3, seed=0)
        held = np.concatenate([y for _, y, _ in data.batches])
        epochs = [np.concatenate([y for _, y, _ in data.epoch(number)]) for number in (0, 1)]
        assert list(held) == list(range(5)) and data.steps == 3
        assert [list(epoch) for epoch in epochs] == [list(range(5, 20)), list(range(20, 35))]

    @pytest.mark.parametrize("length", [20, None])
    def test_a_data_set_of_known_or_unknown_length_with_steps(self, length):
        class Some(Sequence):
            num_batches = length

            def __getitem__(self, index):
                return super().__getitem__(index % 20)

        data = HeldBack(Some(self.X, self.Y), 5, 3, seed=0)
        held, step = data.examples, next(data.epoch(0))
        assert held in (5, 10) and step[1].numpy()[0] == held and data.steps == 3

    def test_data_that_are_shuffled_anew_are_told(self):
        pairs = tf.data.Dataset.from_tensor_slices((self.X, self.Y))
        assert HeldBack(pairs.shuffle(100).batch(5), 5, None, seed=0).reshuffled
        assert not HeldBack(pairs.shuffle(100, seed=1, reshuffle_each_iteration=False).batch(5), 5, None, seed=0).reshuffled

    UNKNOWN = tf.data.Dataset.from_tensor_slices((X, Y)).filter(lambda x, y: True).batch(100)

    @pytest.mark.parametrize("data", [(X[:4], Y[:4]), tf.data.Dataset.from_tensor_slices((X, Y)).batch(100), UNKNOWN])
    def test_few_data_are_judged_by_as_a_whole(self, data):
        found = HeldBack(data, 5, None, seed=0)
        assert found.examples == sum(len(y) for _, y, _ in found.epoch(0))
