"""What is measured of a file: its own accuracy, size, latency, MACs and bit operations."""

import gzip
import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2 as freeze

import keras_taylor as kt
from keras_taylor._quantize.tflite import device_name
from tests import nets

layers = keras.layers


def converted(model, batch=None, io=None):
    """A `.tflite` file straight from the converter: with a batch size of its own, or in 8 bits."""
    shape = [batch, *model.inputs[0].shape[1:]]
    function = tf.function(lambda x: model(x, training=False), input_signature=[tf.TensorSpec(shape)], autograph=False)
    converter = tf.lite.TFLiteConverter.from_concrete_functions([freeze(function.get_concrete_function())], tf.Module())
    if io is not None:
        x = np.random.default_rng(0).normal(size=(64, *shape[1:])).astype("float32")
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        if io == "int16":
            name = "EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8"
            converter.target_spec.supported_ops = [getattr(tf.lite.OpsSet, name)]
        converter.inference_input_type = converter.inference_output_type = tf.as_dtype(io)
        converter.representative_dataset = lambda: ([row[None]] for row in x)
    return converter.convert()


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


class TestLiteModel:
    @pytest.mark.parametrize("io", ["int8", "uint8", "int16"])
    def test_integers_come_and_go_as_floats(self, model, io):
        x, _ = nets.images(16)
        (found,) = kt.LiteModel(converted(model, io=io))([x])
        expected = nets.outputs(model, x)[0]
        assert found.dtype == np.float32
        assert np.abs(found - expected).max() < (0.2 if io != "int16" else 0.05) * np.abs(expected).max()

    def test_values_beyond_the_range_of_the_file_are_cut(self, model):
        lite = kt.LiteModel(converted(model, io="int8"))
        x = np.full((1, 8, 8, 3), 1e6)
        np.testing.assert_array_equal(lite([x])[0], lite([x / 2])[0])

    @pytest.mark.parametrize("batch", [1, 3])
    def test_a_fixed_batch_size(self, model, batch):
        """Seven examples are two batches of three, and a last one that is filled up."""
        x, _ = nets.images(7)
        (found,) = kt.LiteModel(converted(model, batch=batch))([x])
        np.testing.assert_allclose(found, nets.outputs(model, x)[0], rtol=1e-4, atol=1e-4)

    def test_a_batch_that_the_graph_cannot_carry(self):
        """A batch size of one is baked into the reshape: the examples go one by one, and again after that."""
        inputs = keras.Input((4, 4, 3))
        x = keras.ops.reshape(layers.Conv2D(2, 1)(inputs), (1, 32))
        model = nets.randomized(keras.Model(inputs, layers.Dense(2)(x)))
        x, _ = nets.images(5, shape=(4, 4, 3))
        expected = np.concatenate([nets.outputs(model, x[i : i + 1])[0] for i in range(5)])
        lite = kt.LiteModel(converted(model))
        for _ in range(2):
            np.testing.assert_allclose(lite([x])[0], expected, rtol=1e-4, atol=1e-5)

    def test_inputs_of_different_lengths(self, file):
        with pytest.raises(kt.errors.BadInput, match="inputs must name the file's inputs in order"):
            kt.LiteModel(file, ["other"])

    @pytest.mark.parametrize("content", [b"", b"PK\x03\x04 a zip archive"])
    def test_no_tflite_file(self, content):
        with pytest.raises(kt.errors.BadInput, match="do not begin like one"):
            kt.LiteModel(content)


class TestLatency:
    def test_it_says_how_it_was_taken(self, file):
        found = kt.LiteModel(file, threads=2).latency(runs=7, warm_up=1)
        assert 0 < found.fastest_ms <= found.q1_ms <= found.median_ms <= found.q3_ms
        assert (found.runs, found.warm_up, found.threads, found.device) == (7, 1, 2, device_name())
        assert "7 runs after 1, 2 threads" in str(found)

    def test_quartiles_by_hand(self):
        found = kt.Latency.of([0.001, 0.002, 0.003, 0.004, 0.009], warm_up=0, threads=1)
        assert (found.fastest_ms, found.q1_ms, found.median_ms, found.q3_ms) == pytest.approx((1, 2, 3, 4))

    def test_several_inputs_need_no_order(self):
        a, b = keras.Input((3,), name="b"), keras.Input((4,), name="a")
        assert kt.LiteModel(several(a, b)).latency(runs=2).runs == 2

    def test_indices(self):
        """An embedding is given rows that it has."""
        model = keras.Sequential([keras.Input((3,), dtype="int32"), layers.Embedding(1, 2), layers.Flatten(), layers.Dense(1)])
        assert kt.LiteModel(exported(model)).latency(runs=2).runs == 2

    def test_files_in_turn(self, file):
        found = kt.compare_latency([file, file, file], rounds=3, runs=2)
        assert [one.runs for one in found] == [6, 6, 6]

    @pytest.mark.parametrize(("option", "value"), [("runs", 0), ("rounds", -1), ("warm_up", -1), ("runs", 2.5)])
    def test_bad_counts(self, file, option, value):
        with pytest.raises(kt.errors.BadInput, match=f"{option} must be a whole number of at least"):
            kt.compare_latency([file], **{option: value})


def exported(model):
    function = tf.function(
        lambda *x: tuple(keras.tree.flatten(model(list(x) if len(x) > 1 else x[0], training=False))),
        input_signature=[tf.TensorSpec([None, *x.shape[1:]], x.dtype, name=x.name) for x in model.inputs],
        autograph=False,
    )
    frozen = freeze(function.get_concrete_function())
    return tf.lite.TFLiteConverter.from_concrete_functions([frozen], tf.Module()).convert()


def several(a, b):
    return exported(nets.randomized(keras.Model([a, b], [layers.Dense(2)(a), layers.Dense(2)(b)])))


class TestMeasure:
    def test_accuracy_of_the_file(self, file, data):
        found = kt.measure(file, data, batch_size=16, runs=2)
        assert (found.metric, found.value, found.examples) == ("accuracy", 0.75, 40)
        assert found.macs is found.bops is None

    @pytest.mark.parametrize("labels", ["column", "one-hot", "tf.data"])
    def test_labels(self, file, data, labels):
        x, y = data
        shaped = (x, keras.utils.to_categorical(y, 3) if labels == "one-hot" else y[:, None])
        given = tf.data.Dataset.from_tensor_slices(data).batch(16) if labels == "tf.data" else shaped
        assert kt.measure(file, given, runs=2).value == 0.75

    def test_sample_weights(self, file, data):
        """Right examples count three times as much as the wrong ones: 90 of 100 parts."""
        weight = np.where(np.arange(40) % 4 == 0, 1.0, 3.0)
        assert kt.measure(file, (*data, weight), runs=2).value == pytest.approx(0.9)

    def test_two_classes_in_one_output(self):
        model = nets.randomized(keras.Sequential([keras.Input((4,)), layers.Dense(1, activation="sigmoid")]))
        x = np.random.default_rng(0).normal(size=(20, 4)).astype("float32")
        y = nets.outputs(model, x)[0] > 0.5
        y[:5] = ~y[:5]
        found = kt.measure(converted(model), (x, y), metric=lambda y, out: (out[:, 0] > 0.5) == y[:, 0], runs=2)
        assert found.value == 0.75
        with pytest.raises(kt.errors.BadInput, match="must be a function for a single output unit"):
            kt.measure(converted(model), (x, y), runs=2)

    def test_one_answer_per_position(self):
        model = nets.randomized(keras.Sequential([keras.Input((4, 4, 3)), layers.Conv2D(5, 1)]))
        x, _ = nets.images(3, shape=(4, 4, 3))
        y = nets.outputs(model, x)[0].argmax(-1)
        y[:, :2] = (y[:, :2] + 1) % 5
        assert kt.measure(converted(model), (x, y), runs=2).value == 0.5

    def test_a_metric_of_ones_own(self, file, model, data):
        x, y = data
        found = kt.measure(file, data, metric=keras.metrics.sparse_categorical_crossentropy, runs=2)
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
        assert kt.measure(exported(model), data, model=model, metric=both, runs=2).value == 1.0
        with pytest.raises(kt.errors.BadInput, match="metric must be a function for 2 outputs"):
            kt.measure(exported(model), data, model=model, runs=2)

    def test_sizes(self, file, model, tmp_path):
        path = tmp_path / "model.tflite"
        path.write_bytes(file)
        found = kt.measure(path, model=kt.trace(model), quantizer="float16", runs=2)
        assert found.bytes == len(file)
        assert found.gzip_bytes == len(gzip.compress(file, mtime=0)) < len(file)
        assert (found.macs, found.params) == (kt.trace(model).macs, model.count_params())
        assert found.bops == kt.bops(model, kt.Float16())
        assert found.value is None and found.precision == "float16"

    def test_what_quantize_returns(self, model, data):
        found = kt.measure(kt.quantize(model, "float16"), data, runs=2)
        assert (found.precision, found.macs, found.value) == ("float16", kt.trace(model).macs, 0.75)

    def test_it_prints_and_becomes_json(self, file, data, model):
        found = kt.measure(file, data, model=model, runs=2)
        assert all(word in str(found) for word in ("accuracy", "0.7500 (40 examples)", "latency", "gzip", "BOPs (float32)"))
        record = json.loads(json.dumps(found.to_dict()))
        assert record["latency"]["runs"] == 2 and record["value"] == 0.75

    def test_progress(self, file, data, capsys):
        kt.measure(file, data, batch_size=16, runs=2, verbose=1)
        assert "3/3" in capsys.readouterr().out
        kt.measure(file, data, batch_size=16, runs=2)
        assert capsys.readouterr().out == ""

    BAD = {
        "a path that is not there": ({"file": "no.tflite"}, "file must be a .tflite file"),
        "an unknown metric": ({"metric": "acc"}, "metric must be 'accuracy' or a function"),
        "a mean": ({"metric": lambda y, out: 0.5}, "metric must give one value per example"),
        "no labels": ({"data": np.zeros((4, 8, 8, 3))}, "data must have labels"),
        "no runs": ({"runs": 0}, "runs must be a whole number"),
        "an unknown quantizer": ({"quantizer": "int9"}, "quantizer must be a known name"),
    }

    @pytest.mark.parametrize("what", BAD)
    def test_bad_input(self, what, file, data):
        options, text = self.BAD[what]
        with pytest.raises(kt.errors.KerasTaylorError, match=text):
            kt.measure(**{"file": file, "data": data, **options})


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
