"""Files in LiteRT: as functions, on the clock, and what they say about themselves."""

import keras
import numpy as np
import pytest

import keras_taylor as kt
from keras_taylor.litert._device import device_name
from tests import nets
from tests.litert.files import converted, exported, several

layers = keras.layers


@pytest.fixture(scope="module")
def model():
    return nets.randomized(nets.chain(classes=3))


@pytest.fixture(scope="module")
def file(model):
    return converted(model)


class TestLiteModel:
    @pytest.mark.parametrize("io", ["int8", "uint8", "int16"])
    def test_integers_come_and_go_as_floats(self, model, io):
        x, _ = nets.images(16)
        (found,) = kt.litert.LiteModel(converted(model, io=io))([x])
        expected = nets.outputs(model, x)[0]
        assert found.dtype == np.float32
        assert np.abs(found - expected).max() < (0.2 if io != "int16" else 0.05) * np.abs(expected).max()

    def test_values_beyond_the_range_of_the_file_are_cut(self, model):
        lite = kt.litert.LiteModel(converted(model, io="int8"))
        x = np.full((1, 8, 8, 3), 1e6)
        np.testing.assert_array_equal(lite([x])[0], lite([x / 2])[0])

    @pytest.mark.parametrize("batch", [1, 3])
    def test_a_fixed_batch_size(self, model, batch):
        """Seven examples are two batches of three, and a last one that is filled up."""
        x, _ = nets.images(7)
        (found,) = kt.litert.LiteModel(converted(model, batch=batch))([x])
        np.testing.assert_allclose(found, nets.outputs(model, x)[0], rtol=1e-4, atol=1e-4)

    def test_a_batch_that_the_graph_cannot_carry(self):
        """A batch size of one is baked into the reshape: the examples go one by one, and again after that."""
        inputs = keras.Input((4, 4, 3))
        x = keras.ops.reshape(layers.Conv2D(2, 1)(inputs), (1, 32))
        model = nets.randomized(keras.Model(inputs, layers.Dense(2)(x)))
        x, _ = nets.images(5, shape=(4, 4, 3))
        expected = np.concatenate([nets.outputs(model, x[i : i + 1])[0] for i in range(5)])
        lite = kt.litert.LiteModel(converted(model))
        for _ in range(2):
            np.testing.assert_allclose(lite([x])[0], expected, rtol=1e-4, atol=1e-5)

    def test_inputs_of_different_lengths(self, file):
        with pytest.raises(kt.errors.BadInput, match="inputs must name the file's inputs in order"):
            kt.litert.LiteModel(file, ["other"])

    @pytest.mark.parametrize("content", [b"", b"PK\x03\x04 a zip archive"])
    def test_no_tflite_file(self, content):
        with pytest.raises(kt.errors.BadInput, match="do not begin like one"):
            kt.litert.LiteModel(content)


class TestLatency:
    def test_it_says_how_it_was_taken(self, file):
        found = kt.litert.LiteModel(file, threads=2).latency(runs=7, warm_up=1)
        assert 0 < found.fastest_ms <= found.q1_ms <= found.median_ms <= found.q3_ms
        assert (found.runs, found.warm_up, found.threads, found.device) == (7, 1, 2, device_name())
        assert "7 runs after 1, 2 threads" in str(found)

    def test_quartiles_by_hand(self):
        found = kt.litert.Latency.of([0.001, 0.002, 0.003, 0.004, 0.009], warm_up=0, threads=1)
        assert (found.fastest_ms, found.q1_ms, found.median_ms, found.q3_ms) == pytest.approx((1, 2, 3, 4))

    def test_several_inputs_need_no_order(self):
        a, b = keras.Input((3,), name="b"), keras.Input((4,), name="a")
        assert kt.litert.LiteModel(several(a, b)).latency(runs=2).runs == 2

    def test_indices(self):
        """An embedding is given rows that it has."""
        model = keras.Sequential([keras.Input((3,), dtype="int32"), layers.Embedding(1, 2), layers.Flatten(), layers.Dense(1)])
        assert kt.litert.LiteModel(exported(model)).latency(runs=2).runs == 2

    def test_files_in_turn(self, file):
        found = kt.litert.compare_latency([file, file, file], rounds=3, runs=2)
        assert [one.runs for one in found] == [6, 6, 6]

    @pytest.mark.parametrize(("option", "value"), [("runs", 0), ("rounds", -1), ("warm_up", -1), ("runs", 2.5), ("runs", True)])
    def test_bad_counts(self, file, option, value):
        with pytest.raises(kt.errors.BadInput, match=f"{option} must be a whole number of at least"):
            kt.litert.compare_latency([file], **{option: value})


class TestDevice:
    """The instructions decide to how many channels LiteRT pads, so they belong to every latency."""

    FILES = {
        "x86": (
            "processor\t: 0\nmodel name\t: Xeon\nflags\t\t: fpu avx2 amx_int8 avx512_vnni\n\n"
            "model name\t: Other\nflags: avx_vnni\n",
            "Xeon (avx2 avx512_vnni amx_int8)",
        ),
        "Arm": ("processor\t: 0\nmodel name\t: Cortex\nFeatures\t: fp asimd asimddp i8mm\n", "Cortex (asimddp i8mm)"),
        "old": ("model name\t: Pentium\nflags\t\t: fpu mmx\n", "Pentium"),
    }

    @pytest.mark.parametrize("what", FILES)
    def test_its_name(self, what, tmp_path):
        text, expected = self.FILES[what]
        (tmp_path / "cpuinfo").write_text(text)
        assert device_name(tmp_path / "cpuinfo") == expected

    def test_without_a_file(self, tmp_path):
        assert device_name(tmp_path / "nothing")


class TestContents:
    def test_what_is_computed_in_float(self, file, model):
        assert kt.litert.LiteModel(file).float_operations["CONV_2D"] == 2
        assert kt.litert.LiteModel(converted(model, io="int8")).float_operations == {}

    def test_a_file_that_is_not_ours_has_no_note(self, file, tmp_path):
        assert kt.litert.LiteModel(file).note == {}
        (tmp_path / "other.tflite").write_bytes(file)
        with pytest.raises(kt.errors.BadInput, match="which has no note of it"):
            kt.litert.read_note(tmp_path / "other.tflite")

    @pytest.mark.parametrize("content", [b"", b"no model"])
    def test_the_note_of_what_is_no_file(self, content, tmp_path):
        (tmp_path / "other.tflite").write_bytes(content)
        with pytest.raises(kt.errors.BadInput, match=r"must be a \.tflite file"):
            kt.litert.read_note(tmp_path / "other.tflite")
