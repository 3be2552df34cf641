"""Precision: training, conversion, what the file is compared with, and a process that is left as it was."""

import json
import subprocess
import sys

import keras
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

import keras_taylor as kt
from keras_taylor.quantizers._training import make_optimizer
from tests import nets
from tests.quantizers.models import varied

layers = keras.layers


@pytest.fixture(scope="module")
def model():
    made = varied()
    made.compile("sgd", nets.CROSS_ENTROPY)
    return made


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    return rng.normal(size=(64, 8, 8, 3)).astype("float32"), rng.integers(0, 3, 64)


def learnable(data):
    """The same images, with labels that can be seen in them."""
    return data[0], (data[0].mean((1, 2, 3)) > 0).astype(int)


@pytest.mark.parametrize("io", ["float32", "int8", "uint8"])
@pytest.mark.parametrize("kind", ["ptq", "qat"])
def test_int8(kind, io, model, data):
    x, y = data
    quantizer = kt.Int8PTQ(x, io=io) if kind == "ptq" else kt.Int8QAT((x, y), epochs=0, io=io)
    made = kt.quantize(model, quantizer, verbose=0)
    assert made.float_operations == {}
    file = Interpreter(model_content=made.content)
    assert {str(np.dtype(d["dtype"])) for d in (*file.get_input_details(), *file.get_output_details())} == {io}
    expected, (found,) = nets.outputs(model, x)[0], made.lite()([x])
    assert np.abs(found - expected).mean() < 0.1 * np.abs(expected).mean()
    assert 0 < made.max_relative_error < 0.25


@pytest.mark.parametrize("names", [("a", "b"), ("b", "a"), ("z_image", "a_vector")])
def test_several_inputs_are_calibrated_by_name(names):
    """The converter has an order of inputs of its own."""
    one, other = keras.Input((8,), name=names[0]), keras.Input((8,), name=names[1])
    x = layers.Concatenate()([layers.Dense(16, activation="relu")(one), layers.Dense(16, activation="relu")(other)])
    net = nets.randomized(keras.Model([one, other], layers.Dense(4)(x)))
    first = np.random.default_rng(0).normal(size=(64, 8)).astype("float32")
    made = kt.quantize(net, kt.Int8PTQ(((first, 100 * first[::-1]),)))
    assert made.max_relative_error < 0.05


def test_a_file_that_is_far_off_is_said(model, data):
    """Sixteen examples of next to nothing, and one that is large: one scale cannot serve both."""
    x = np.concatenate([1e-4 * data[0], 1e3 * data[0][:1]])
    narrow = nets.randomized(keras.Sequential([keras.Input((8, 8, 3)), layers.Flatten(), layers.Dense(3, activation="tanh")]))
    with pytest.warns(UserWarning, match=r"int8_ptq file of .* differs from the model by .*kt.measure"):
        kt.quantize(narrow, kt.Int8PTQ(x, seed=3))


@pytest.mark.filterwarnings("ignore:The int16x8_ptq file of .* computes in float32. HARD_SWISH")
def test_sixteen_bit_activations_are_closer(model, data):
    errors = [kt.quantize(model, kind(data[0])).max_relative_error for kind in (kt.Int8PTQ, kt.quantizers.Int16x8PTQ)]
    assert errors[1] < errors[0] / 2


def test_dynamic_range_needs_no_data(data):
    wide = nets.randomized(nets.chain(filters=64))
    made = kt.quantize(wide, "dynamic")
    assert len(made.content) < 0.4 * len(kt.quantize(wide).content) and made.max_relative_error < 0.1


class TestTraining:
    def trained(self, model, data, **options):
        # Trained on noise, and wildly: a class may be lost.
        wild = {"epochs": 3, "learning_rate": 1e-2, "batch_size": 16, "allow_constant_channels": True}
        quantizer = kt.Int8QAT(data, **wild | options)
        return kt.quantize(model, quantizer, verbose=0)

    def test_the_loss_falls_and_the_model_stays(self, model, data):
        before = [weight.numpy() for weight in model.weights]
        losses = []
        for epochs in (0, 6):
            made = self.trained(model, data, epochs=epochs)
            losses.append(float(nets.CROSS_ENTROPY(data[1], made.lite()([data[0]])[0])))
        assert losses[1] < 0.9 * losses[0]
        assert all(np.array_equal(a, b.numpy()) for a, b in zip(before, model.weights, strict=True))
        assert not np.array_equal(made.model.get_layer("conv").kernel.numpy(), model.get_layer("conv").kernel.numpy())

    def test_the_trained_model_is_plain_keras(self, model, data, tmp_path):
        made = self.trained(model, data, epochs=1)
        made.model.save(tmp_path / "trained.keras")
        loaded = keras.models.load_model(tmp_path / "trained.keras", compile=False)
        np.testing.assert_allclose(nets.outputs(loaded, data[0])[0], nets.outputs(made.model, data[0])[0], rtol=1e-5, atol=1e-5)

    def test_the_same_seed_gives_the_same_weights(self, data):
        """But for the order in which threads add up."""
        net = nets.randomized(nets.residual())
        net.compile("sgd", nets.CROSS_ENTROPY)
        one, same, other = (self.trained(net, data, epochs=1, seed=seed).model.get_weights() for seed in (0, 0, 1))
        assert all(np.allclose(a, b, atol=1e-5) for a, b in zip(one, same, strict=True))
        assert not all(np.allclose(a, b, atol=1e-4) for a, b in zip(one, other, strict=True))

    def test_frozen_layers_stay(self, data):
        net = nets.randomized(nets.residual())
        net.compile("sgd", nets.CROSS_ENTROPY)
        for name in ("inner", "stem_bn"):
            net.get_layer(name).trainable = False
        made = self.trained(net, learnable(data), epochs=1)
        moved = made.model.get_layer("outer_bn")
        assert np.array_equal(moved.moving_mean.numpy(), net.get_layer("outer_bn").moving_mean.numpy())
        assert not np.array_equal(moved.beta.numpy(), net.get_layer("outer_bn").beta.numpy())
        for layer in net.layers:
            same = [
                np.array_equal(a.numpy(), b.numpy())
                for a, b in zip(layer.weights, made.model.get_layer(layer.name).weights, strict=True)
                if "moving" not in a.name
            ]
            assert all(same) if layer.name in ("inner", "stem_bn") else not any(same)

    @pytest.mark.parametrize("kind", ["dataset", "weighted"])
    def test_data_as_fit_takes_them(self, kind, data):
        import tensorflow as tf

        x, y = data
        net = nets.randomized(nets.residual())
        given = {
            "dataset": tf.data.Dataset.from_tensor_slices((x, y)).batch(16),
            "weighted": (x, y, np.ones(64, "float32")),
        }[kind]
        made = self.trained(net, given, epochs=1, loss=nets.CROSS_ENTROPY)
        assert made.float_operations == {}

    def test_several_inputs_outputs_and_a_shared_layer(self):
        a, b = keras.Input((6,), name="a"), keras.Input((6,), name="b")
        shared = layers.Dense(5, activation="relu", name="shared")
        x, y = shared(a), shared(b)
        net = nets.randomized(keras.Model([a, b], {"sum": layers.Dense(2)(x + y), "one": layers.Dense(1)(x)}))
        rng = np.random.default_rng(0)
        inputs = [rng.normal(size=(32, 6)).astype("float32") for _ in range(2)]
        targets = {"sum": rng.normal(size=(32, 2)), "one": rng.normal(size=(32, 1))}
        made = self.trained(net, (inputs, targets), epochs=1, loss={"sum": "mse", "one": "mse"}, learning_rate=1e-3)
        found = dict(zip(("one", "sum"), made.lite()(inputs), strict=True))
        for name, expected in made.model(inputs).items():
            assert np.abs(found[name] - expected).max() < 0.2 * np.abs(expected).max()

    def test_an_optimizer_with_its_options(self):
        given = keras.optimizers.SGD(0.5, momentum=0.9, nesterov=True)
        made = make_optimizer(kt.Int8QAT(optimizer=given).optimizer, 0.1)
        assert (made.momentum, made.nesterov, float(made.learning_rate)) == (0.9, True, pytest.approx(0.1))

    @pytest.mark.parametrize("after", ["relu", "sum"])
    def test_a_shared_layer_rounds_each_call_by_itself(self, after):
        """The first call is fused with a ReLU, or sees inputs of another size."""
        a, b = keras.Input((6,), name="a"), keras.Input((6,), name="b")
        shared = layers.Dense(5, name="shared")
        x = layers.ReLU(name="relu")(shared(a)) if after == "relu" else shared(a)
        net = nets.randomized(keras.Model([a, b], layers.Dense(2)(layers.Concatenate()([x, shared(b)]))))
        rng = np.random.default_rng(0)
        inputs = (100 * rng.normal(size=(32, 6)).astype("float32"), rng.normal(size=(32, 6)).astype("float32"))
        made = self.trained(net, (inputs, np.zeros((32, 2))), epochs=0, loss="mse")
        expected = net(list(inputs)).numpy()
        # Ranges are means over batches, so a few extremes are cut; with the other call's range nearly all would be.
        assert np.abs(made.lite()(list(inputs))[0] - expected).max() < 0.25 * np.abs(expected).max()

    def test_an_endless_data_set(self, data):
        import tensorflow as tf

        net = nets.randomized(nets.residual())
        endless = tf.data.Dataset.from_tensor_slices(data).batch(16).repeat()
        assert self.trained(net, endless, epochs=2, steps_per_epoch=2, loss=nets.CROSS_ENTROPY).float_operations == {}

    def test_progress_like_fit(self, model, data, capsys):
        self.trained(model, data, epochs=2, verbose=2)
        printed = capsys.readouterr().out
        assert "Quantization-aware epoch 2/2" in printed and "4/4" in printed and "loss" in printed
        self.trained(model, data, epochs=1)
        assert capsys.readouterr().out == ""
        kt.quantize(model, kt.Int8QAT(data, epochs=1))
        assert "2/2" in capsys.readouterr().out


class TestBadInput:
    def test_no_data(self, model):
        for kind, name in ((kt.Int8PTQ, "calibration"), (kt.quantizers.Int16x8PTQ, "calibration"), (kt.Int8QAT, "data")):
            with pytest.raises(kt.errors.BadInput, match=f"{kind.__name__} must have {name}. Received: None"):
                kt.quantize(model, kind())

    def test_another_shape(self, model):
        with pytest.raises(kt.errors.BadInput, match="must have the model's input shapes"):
            kt.quantize(model, kt.Int8PTQ(np.ones((4, 9, 8, 3), "float32")))

    def test_constant_calibration(self, model):
        with pytest.raises(kt.errors.BadInput, match="Calibration data must vary"):
            kt.quantize(model, kt.Int8PTQ(np.zeros((8, 8, 8, 3), "float32")))

    def test_litert_cannot_run_the_file(self, data):
        net = keras.Sequential([keras.Input((6,)), layers.Dense(8), layers.LayerNormalization(), layers.Dense(3)])
        with pytest.raises(kt.errors.ConversionError, match=r"SquaredDifference|does not name"):
            kt.quantize(net, kt.quantizers.Int16x8PTQ(data[0].reshape(-1, 6)))

    def test_another_range(self, data):
        net = nets.residual()
        net.compile("sgd", nets.CROSS_ENTROPY)
        net.fit(*data, epochs=8, verbose=0)
        with pytest.warns(UserWarning, match=r"values are .* \(training: .*The inputs are -.* to "):
            kt.quantize(net, kt.Int8PTQ(100 * data[0]))

    def test_a_layer_without_a_tf_keras_form(self, data):
        net = keras.Sequential([keras.Input((4, 3)), layers.LSTM(5, name="memory"), layers.Dense(3)])
        with pytest.raises(kt.errors.UnsupportedModel, match=r"'memory' \(LSTM\).*which has weights and none"):
            kt.quantize(net, kt.Int8QAT((data[0][:4, 0, :4], np.ones(4)), loss=nets.CROSS_ENTROPY))

    def test_the_converter_refuses(self):
        x = inputs = keras.Input((4,))
        net = keras.Model(inputs, keras.ops.erf(layers.Dense(3)(x)))
        with pytest.raises(kt.errors.ConversionError, match=r"Received: Erf, from layer 'erf'.*ops_compatibility"):
            kt.quantize(net)

    def test_no_loss(self, data):
        with pytest.raises(kt.errors.BadInput, match=r"The model must have a loss"):
            kt.quantize(nets.residual(), kt.Int8QAT(data))

    def test_an_unknown_optimizer(self, model, data):
        with pytest.raises(kt.errors.BadInput, match="must be an optimizer that tf_keras has"):
            kt.quantize(model, kt.Int8QAT(data, optimizer="shampoo"), verbose=0)

    def test_a_loss_that_explodes(self, model, data):
        with pytest.raises(kt.errors.BadInput, match=r"must (stay|be) finite.*Lower"):
            kt.quantize(model, kt.Int8QAT(data, learning_rate=1e30, optimizer="sgd", epochs=5), verbose=0)


SCRIPT = """
import json, os, sys
import numpy as np, keras, tensorflow as tf, keras_taylor as kt
model = keras.Sequential([keras.Input((8, 8, 3), name="i"), keras.layers.Conv2D(4, 3, name="c"), keras.layers.ReLU(name="r"),
                          keras.layers.Flatten(name="f"), keras.layers.Dense(2, name="d")])
x = np.random.default_rng(0).normal(size=(8, 8, 8, 3)).astype("float32")
state = lambda: [str(kt.trace(model)), kt.trace(model).fingerprint, os.environ.get("TF_USE_LEGACY_KERAS"),
                 keras.config.dtype_policy().name, tf.keras is module]
TOUCH
module = tf.keras
before = state()
kt.quantize(model, kt.Int8QAT((x, np.zeros(8)), loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True), epochs=1))
print(json.dumps([before, state(), "tf_keras" in sys.modules]))
"""


@pytest.mark.parametrize("touched", [True, False])
def test_the_process_is_left_as_it_was(touched):
    script = SCRIPT.replace("TOUCH", "tf.keras.layers" if touched else "")
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    before, after, used = json.loads(done.stdout.splitlines()[-1])
    assert before == after and used
    assert before[2] is None and before[4]
