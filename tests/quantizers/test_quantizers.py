"""Precisions as values: equality, options, what the stages ask of them, and a new one in one class."""

import json
from dataclasses import dataclass, replace

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_taylor as kt
from keras_taylor import quantizers
from keras_taylor._measure.latency_cache import Cache
from keras_taylor._measure.timing import file_like
from keras_taylor.quantizers import _base
from tests import nets

layers = keras.layers
IMAGES = np.random.default_rng(0).normal(size=(16, 8, 8, 3)).astype("float32")
LABELS = np.arange(16) % 3
KINDS = quantizers.registered()


@pytest.fixture
def registry(monkeypatch):
    """What a test registers is forgotten afterwards."""
    monkeypatch.setattr(_base, "_REGISTRY", _base._REGISTRY.copy())


class TestEquality:
    """By class, options and data: arrays by their content, other data by being the same object."""

    DATASET = tf.data.Dataset.from_tensor_slices((IMAGES, LABELS)).batch(4)
    EQUAL = {
        "names": (kt.Float16(), kt.Float16()),
        "copies of arrays": (kt.Int8PTQ(IMAGES), kt.Int8PTQ(IMAGES.copy())),
        "copies of pairs": (kt.Int8QAT((IMAGES, LABELS)), kt.Int8QAT((IMAGES.copy(), LABELS.copy()))),
        "one data set": (kt.Int8PTQ(DATASET), kt.Int8PTQ(DATASET)),
        "numbers": (kt.Int8QAT(learning_rate=1, epochs=np.int64(2)), kt.Int8QAT(learning_rate=1.0, epochs=2)),
        "optimizers": (kt.Int8QAT(optimizer=keras.optimizers.SGD(0.1)), kt.Int8QAT(optimizer=keras.optimizers.SGD(0.1))),
        "another verbose": (kt.Int8QAT(verbose=0), kt.Int8QAT(verbose=1)),
    }
    DIFFERENT = {
        "classes": (kt.Float16(), kt.DynamicRange()),
        "a class and its base": (kt.Int8PTQ(IMAGES), kt.quantizers.Int16x8PTQ(IMAGES)),
        "no data": (kt.Int8PTQ(IMAGES), kt.Int8PTQ()),
        "one value": (kt.Int8PTQ(IMAGES), kt.Int8PTQ(np.concatenate([IMAGES[:-1], IMAGES[:1]]))),
        "labels": (kt.Int8QAT((IMAGES, LABELS)), kt.Int8QAT((IMAGES, LABELS[::-1]))),
        "dtypes": (kt.Int8PTQ(IMAGES), kt.Int8PTQ(IMAGES.astype("float64"))),
        "data sets that look alike": (
            kt.Int8PTQ(DATASET),
            kt.Int8PTQ(tf.data.Dataset.from_tensor_slices((IMAGES, LABELS)).batch(4)),
        ),
        "options": (kt.Int8PTQ(IMAGES, examples=8), kt.Int8PTQ(IMAGES, examples=9)),
        "optimizers": (kt.Int8QAT(optimizer=keras.optimizers.SGD(0.1)), kt.Int8QAT(optimizer="sgd")),
    }

    @pytest.mark.parametrize("what", EQUAL)
    def test_equal(self, what):
        one, other = self.EQUAL[what]
        assert one == other and hash(one) == hash(other) and len({one, other}) == 1

    @pytest.mark.parametrize("what", DIFFERENT)
    def test_different(self, what):
        one, other = self.DIFFERENT[what]
        assert one != other and len({one, other}) == 2

    def test_targets_compare_their_quantizers(self):
        one, same, other = (kt.Target(latency=0.5, quantizer=kt.Int8PTQ(x)) for x in (IMAGES, IMAGES.copy(), IMAGES + 1))
        assert one == same and one != other

    def test_data_are_hashed_when_it_is_asked_for_and_once(self, monkeypatch):
        calls = []
        real = _base.described_data
        monkeypatch.setattr(_base, "described_data", lambda data: calls.append(data) or real(data))
        one, other = kt.Int8PTQ(IMAGES), kt.Int8PTQ(IMAGES.copy())
        assert one != kt.Float16() and one == replace(one) and not calls
        assert one == other and one == other and hash(one) == hash(other)
        assert len(calls) == 2


def test_settings_are_json_and_leave_the_data_out():
    quantizer = kt.Int8QAT((IMAGES, LABELS), optimizer=keras.optimizers.SGD(0.1, momentum=0.9), loss=nets.CROSS_ENTROPY)
    settings = json.loads(json.dumps(quantizer.settings()))
    assert settings["optimizer"]["config"]["momentum"] == pytest.approx(0.9)
    assert not {"data", "verbose"} & set(settings) and settings["loss"]["from_logits"] is True
    identity = json.loads(json.dumps(quantizer.identity()))
    assert {name: value for name, value in identity.items() if name != "data"} == settings
    assert identity["data"]["arrays"] == ["float32[16, 8, 8, 3]", "int64[16]"] and len(identity["data"]["content"]) == 16


@pytest.mark.parametrize("name", KINDS)
class TestEveryPrecision:
    def test_it_has_the_name_that_it_is_registered_by(self, name):
        assert quantizers.quantizer_for(name).name == name == KINDS[name].name
        assert quantizers.quantizer_for(name) == KINDS[name]()

    def test_it_becomes_a_file_once_it_has_data(self, name):
        model = nets.randomized(nets.chain(classes=3))
        given = KINDS[name]().with_data((IMAGES, LABELS), seed=3, loss=nets.CROSS_ENTROPY).with_training(epochs=1, batch_size=8)
        made = kt.quantize(kt.trace(model), given, verbose=0)
        assert made.quantizer == given and made.max_relative_error < given.tolerance
        assert made.lite()([IMAGES])[0].shape == (16, 3)
        assert kt.bops(model, given) <= kt.bops(model)

    def test_data_that_it_has_are_kept(self, name):
        mine, other = (IMAGES, LABELS), (IMAGES + 1, LABELS)
        once = KINDS[name]().with_data(mine, loss="mse")
        assert once.with_data(other, loss="mae") == once

    def test_a_stand_in_needs_nothing(self, name):
        for integers in (False, True):
            one = KINDS[name]().stand_in(integers)
            one.configure(tf.lite.TFLiteConverter([]))
            assert not one.trains and one == KINDS[name]().with_data(IMAGES).stand_in(integers)
            assert (one.weight_bits, one.activation_bits) == (KINDS[name].weight_bits, KINDS[name].activation_bits)

    def test_missing_data_are_said_before_any_work(self, name):
        quantizer = KINDS[name]()
        if quantizer == quantizer.with_data(IMAGES):
            quantizer.check()
        else:
            with pytest.raises(
                kt.errors.BadInput, match=rf"{KINDS[name].__name__} must have \w+. Received: None. Pass training"
            ):
                quantizer.check()
            quantizer.with_data(iter([IMAGES])).check()  # its batches are kept


def test_training_is_for_those_that_train():
    options = {"epochs": 7, "steps_per_epoch": 2, "batch_size": 4, "optimizer": "sgd", "learning_rate": 0.5, "seed": 9}
    assert kt.Int8QAT((IMAGES, LABELS)).with_training(**options) == kt.Int8QAT((IMAGES, LABELS), **options)
    assert kt.Int8PTQ(IMAGES).with_training(**options) == kt.Int8PTQ(IMAGES)
    assert [name for name, kind in KINDS.items() if kind.trains] == ["int8_qat"]


def test_latencies_of_trained_files_are_those_of_calibrated_ones():
    assert kt.Int8QAT(io="uint8").stand_in() == kt.Int8PTQ(io="uint8")
    assert kt.Int8QAT().stand_in(integers=True) == kt.Int8PTQ(io="int8")
    assert kt.quantizers.Int16x8PTQ(IMAGES).stand_in(integers=True) == kt.quantizers.Int16x8PTQ(io="int16")


class TestANewPrecision:
    """One class, and every stage takes it: by its name, and as a value."""

    @pytest.fixture
    def kind(self, registry):
        @quantizers.register_quantizer("eights")
        @dataclass(frozen=True, eq=False)
        class Eights(quantizers.Quantizer):
            scale: int = 1
            weight_bits = 8
            least_elements = 100
            tolerance = 0.2

            def configure(self, converter, examples=None):
                converter.optimizations = [tf.lite.Optimize.DEFAULT]

        return Eights

    def test_it_goes_all_the_way(self, kind, tmp_path, monkeypatch):
        monkeypatch.setenv("KERAS_TAYLOR_CACHE", str(tmp_path / "cache"))
        model = nets.randomized(nets.chain(filters=32))
        file = kt.export_tflite(model, tmp_path / "model.tflite", quantizer="eights")
        assert file.quantizer == kind() and file.note["quantizer"] == "eights"
        assert file.size < 0.5 * kt.quantize(model).size
        found = kt.measure(file, runs=2, verbose=0)
        # LiteRT rounds the activations of such files, too.
        assert (found.precision, found.bops) == ("eights", kt.bops(model, kt.DynamicRange()))
        assert len(file_like(model, kind())) < file.size
        assert Cache(1, kind().stand_in().name).path != Cache(1, "float32").path
        assert kt.Target(latency=0.5, quantizer=kind(scale=2)) != kt.Target(latency=0.5, quantizer=kind())

    def test_small_kernels_stay_in_float(self, kind):
        assert kind().bits(99) == (32, 32) and kind().bits(100) == (8, 32)

    def test_a_name_is_taken_once(self, kind):
        with pytest.raises(kt.errors.BadInput, match="'float16', which is Float16"):
            quantizers.register_quantizer("float16")(kind)

    def test_without_a_registration_it_has_its_own_name(self):
        @dataclass(frozen=True, eq=False)
        class Other(kt.Float16):
            pass

        assert Other().name == "Other" and kt.quantize(nets.randomized(nets.chain()), Other()).quantizer.name == "Other"


def test_options():
    with pytest.raises(kt.errors.BadInput, match=r"io=.*int16"):
        kt.Int8PTQ(io="int16")
    with pytest.raises(kt.errors.BadInput, match="epochs="):
        kt.Int8QAT(epochs=-1)
    with pytest.raises(kt.errors.BadInput, match="learning_rate="):
        kt.Int8QAT(learning_rate=0)
    for name in ("steps_per_epoch", "batch_size", "epochs"):
        with pytest.raises(kt.errors.BadInput, match=rf"Int8QAT\({name}=\) must be a whole number.*Received: True"):
            kt.Int8QAT(**{name: True})
    assert kt.Int8QAT(epochs=np.int64(2)).settings()["epochs"] == 2
    with pytest.raises(kt.errors.BadInput, match=r"Int8PTQ\(examples=\) must be a whole number"):
        kt.Int8PTQ(examples=0)
    with pytest.raises(kt.errors.BadInput, match="verbose must be"):
        kt.Int8QAT(verbose="loud")
    with pytest.raises(kt.errors.UnknownName, match="int8_ptq"):
        kt.quantize(nets.chain(), "int8ptq")
