"""What is measured of a file: its own accuracy, size, latency, MACs and bit operations."""

import gzip
import json

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_taylor as kt
from tests import nets
from tests.litert.files import converted, exported

layers = keras.layers


@pytest.fixture(scope="module")
def model():
    return nets.randomized(nets.chain(classes=3))


@pytest.fixture(scope="module")
def file(model):
    return converted(model)


@pytest.fixture(scope="module")
def data(model):
    """Images with the model's own answers as labels, a quarter of them wrong."""
    x, _ = nets.images(40)
    y = nets.outputs(model, x)[0].argmax(-1)
    y[::4] = (y[::4] + 1) % 3
    return x, y


class TestMeasure:
    def test_accuracy_of_the_file(self, file, data):
        found = kt.measure(file, data, batch_size=16, runs=2, verbose=0)
        assert (found.metric, found.value, found.examples) == ("accuracy", 0.75, 40)
        assert found.macs is found.bops is None

    @pytest.mark.parametrize("labels", ["column", "one-hot", "tf.data"])
    def test_labels(self, file, data, labels):
        x, y = data
        shaped = (x, keras.utils.to_categorical(y, 3) if labels == "one-hot" else y[:, None])
        given = tf.data.Dataset.from_tensor_slices(data).batch(16) if labels == "tf.data" else shaped
        assert kt.measure(file, given, runs=2, verbose=0).value == 0.75

    def test_sample_weights(self, file, data):
        """Right examples count three times as much as the wrong ones: 90 of 100 parts."""
        weight = np.where(np.arange(40) % 4 == 0, 1.0, 3.0)
        assert kt.measure(file, (*data, weight), runs=2, verbose=0).value == pytest.approx(0.9)

    def test_two_classes_in_one_output(self):
        model = nets.randomized(keras.Sequential([keras.Input((4,)), layers.Dense(1, activation="sigmoid")]))
        x = np.random.default_rng(0).normal(size=(20, 4)).astype("float32")
        y = nets.outputs(model, x)[0] > 0.5
        y[:5] = ~y[:5]
        found = kt.measure(converted(model), (x, y), metric=lambda y, out: (out[:, 0] > 0.5) == y[:, 0], runs=2, verbose=0)
        assert found.value == 0.75
        with pytest.raises(kt.errors.BadInput, match="must be a function for a single output unit"):
            kt.measure(converted(model), (x, y), runs=2, verbose=0)

    def test_one_answer_per_position(self):
        model = nets.randomized(keras.Sequential([keras.Input((4, 4, 3)), layers.Conv2D(5, 1)]))
        x, _ = nets.images(3, shape=(4, 4, 3))
        y = nets.outputs(model, x)[0].argmax(-1)
        y[:, :2] = (y[:, :2] + 1) % 5
        assert kt.measure(converted(model), (x, y), runs=2, verbose=0).value == 0.5

    def test_a_metric_of_ones_own(self, file, model, data):
        x, y = data
        found = kt.measure(file, data, metric=keras.metrics.sparse_categorical_crossentropy, runs=2, verbose=0)
        expected = keras.metrics.sparse_categorical_crossentropy(y, nets.outputs(model, x)[0])
        assert found.metric == "sparse_categorical_crossentropy"
        assert found.value == pytest.approx(float(np.mean(expected)), rel=1e-4)

    def test_several_inputs_and_outputs(self):
        """The model says the order; the metric gets both outputs."""
        a, b = keras.Input((3,), name="b"), keras.Input((3,), name="a")
        model = nets.randomized(keras.Model([a, b], [layers.Dense(2)(a), layers.Dense(2)(b)]))
        rng = np.random.default_rng(0)
        x = [rng.normal(size=(6, 3)).astype("float32") for _ in range(2)]
        y = [out.argmax(-1) for out in nets.outputs(model, x)]

        def both(labels, outputs):
            return np.mean([np.equal(label, out.argmax(-1)) for label, out in zip(labels, outputs, strict=True)], axis=0)

        data = tf.data.Dataset.from_tensor_slices((tuple(x), tuple(y))).batch(4)
        assert kt.measure(exported(model), data, model=model, metric=both, runs=2, verbose=0).value == 1.0
        with pytest.raises(kt.errors.BadInput, match="metric must be a function for 2 outputs"):
            kt.measure(exported(model), data, model=model, runs=2, verbose=0)

    def test_sizes(self, file, model, tmp_path):
        path = tmp_path / "model.tflite"
        path.write_bytes(file)
        found = kt.measure(path, model=kt.trace(model), quantizer="float16", runs=2, verbose=0)
        assert found.size == len(file)
        assert found.gzip_size == len(gzip.compress(file, mtime=0)) < len(file)
        assert (found.macs, found.params) == (kt.trace(model).macs, model.count_params())
        assert found.bops == kt.bops(model)  # it is a file in float32, whatever it is called
        assert found.value is None and found.precision == "float16"

    def test_what_quantize_returns(self, model, data):
        found = kt.measure(kt.quantize(model, "float16"), data, runs=2, verbose=0)
        assert (found.precision, found.macs, found.value) == ("float16", kt.trace(model).macs, 0.75)

    def test_it_prints_and_becomes_json(self, file, data, model, tmp_path):
        found = kt.measure(file, data, model=model, runs=2, verbose=0)
        assert all(word in str(found) for word in ("accuracy", "0.7500 (40 examples)", "latency", "gzip", "BOPs (float32)"))
        record = json.loads(found.to_json())
        assert record["latency"]["runs"] == 2 and record["value"] == 0.75
        assert kt.results.Measurement.from_json(found.to_json()) == found
        found.save(tmp_path / "found.json")
        assert kt.results.Measurement.load(tmp_path / "found.json") == found
        with pytest.raises(kt.errors.BadInput, match=r"A measurement must be JSON as Measurement\.save writes it"):
            kt.results.Measurement.from_json('{"format": 1, "size": 3}')

    def test_old_names(self, file, data):
        """They work for one release."""
        with pytest.warns(DeprecationWarning, match="data= of measure is called x= now"):
            found = kt.measure(file, data=data, runs=2, verbose=0)
        assert found.value == 0.75
        for old, new in (("bytes", found.size), ("gzip_bytes", found.gzip_size)):
            with pytest.warns(DeprecationWarning, match=rf"\.{old} of Measurement is called"):
                assert getattr(found, old) == new
        with pytest.warns(DeprecationWarning, match=r"\.to_dict of Measurement is called \.fields now"):
            assert found.to_dict()["latency"]["runs"] == 2

    def test_arrays_as_in_fit(self, file, data):
        assert kt.measure(file, *data, runs=2, verbose=0).value == 0.75
        with pytest.raises(kt.errors.BadInput, match="y must be labels"):
            kt.measure(file, data[0], "accuracy", runs=2, verbose=0)

    def test_progress(self, file, data, capsys):
        for verbose in (1, "auto"):
            kt.measure(file, data, batch_size=16, runs=2, verbose=verbose)
            assert "3/3" in capsys.readouterr().out
        kt.measure(file, data, batch_size=16, runs=2, verbose=0)
        assert capsys.readouterr().out == ""

    BAD = {
        "a path that is not there": ({"file": "no.tflite"}, "file must be a .tflite file"),
        "an unknown metric": ({"metric": "acc"}, "metric must be 'accuracy' or a function"),
        "a mean": ({"metric": lambda y, out: 0.5}, "metric must give one value per example"),
        "no labels": ({"x": np.zeros((4, 8, 8, 3))}, "x must have labels"),
        "no runs": ({"runs": 0}, "runs must be a whole number"),
        "half a batch": ({"batch_size": 2.5}, "batch_size must be a whole number"),
        "an unknown quantizer": ({"quantizer": "int9"}, "quantizer must be a known name"),
    }

    @pytest.mark.parametrize("what", BAD)
    def test_bad_input(self, what, file, data):
        options, text = self.BAD[what]
        with pytest.raises(kt.errors.KerasTaylorError, match=text):
            kt.measure(**{"file": file, "x": data, "verbose": 0, **options})


class TestBops:
    def test_by_hand(self):
        """8 bits of the image, then what the quantizer says: padding and rescaling pass the image on."""
        x = inputs = keras.Input((8, 8, 3))
        x = layers.ZeroPadding2D()(layers.Rescaling(1 / 255)(x))
        x = layers.Conv2D(4, 3)(x)  # 8 x 8 positions
        x = layers.MaxPooling2D()(layers.ReLU()(x))
        x = layers.Conv2D(5, 3)(x)  # 2 x 2
        model = keras.Model(inputs, layers.Dense(2)(layers.Flatten()(x)))
        first, rest = 64 * 9 * 3 * 4, 4 * 9 * 4 * 5 + 20 * 2
        assert kt.bops(model) == first * 32 * 8 + rest * 32 * 32
        assert kt.bops(kt.trace(model), kt.Float16()) == first * 16 * 8 + rest * 16 * 32
        assert kt.bops(model, "int8_ptq") == (first + rest) * 64
        assert kt.bops(model, "int16x8_ptq") == first * 64 + rest * 8 * 16

    def test_a_second_kernel_of_the_first_layer(self):
        """The pointwise part of a separable convolution reads what the depthwise part makes."""
        model = keras.Sequential([keras.Input((4, 4, 3)), layers.SeparableConv2D(5, 3, padding="same")])
        assert kt.bops(model) == 16 * 9 * 3 * 32 * 8 + 16 * 3 * 5 * 32 * 32

    def test_two_branches_read_the_image_and_a_sum_with_a_map_is_a_map(self):
        inputs = keras.Input((4, 4, 2))
        a, b = layers.Conv2D(2, 1)(inputs), layers.Conv2D(2, 1)(inputs)
        model = keras.Model(inputs, layers.Conv2D(2, 1)(layers.Add()([a, b, inputs])))
        assert kt.bops(model) == 16 * 4 * (2 * 32 * 8 + 32 * 32)

    def test_pruning_counts_on_both_sides(self):
        model = nets.chain()
        small = kt.rebuild(model, kt.PruningPlan({"conv1": (0, 1, 2), "conv2": (0, 1), "pool": (0, 1)}))
        assert kt.bops(small) == 36 * 27 * 3 * 32 * 8 + (16 * 9 * 3 * 2 + 2 * 2) * 32 * 32

    @pytest.mark.parametrize("net", [nets.chain, nets.residual, nets.nested])
    def test_every_kernel_once(self, net):
        """With one number of bits everywhere, bit operations are MACs."""
        graph = kt.trace(net())

        class Bit(kt.quantizers.Quantizer):
            def bits(self, elements):
                return 1, 8

        assert kt.bops(graph, Bit()) == 8 * graph.macs

    def test_kernels_are_found_by_name(self):
        """Of two kernels in a layer, only the larger one is quantized: 3 x 3 x 16 of the depthwise part stay in float."""
        model = keras.Sequential([keras.Input((4, 4, 16)), layers.SeparableConv2D(64, 3, padding="same"), layers.Dense(64)])
        assert kt.bops(model, "dynamic") == 16 * (9 * 16 * 32 * 8 + 16 * 64 * 8 * 8 + 64 * 64 * 8 * 8)
