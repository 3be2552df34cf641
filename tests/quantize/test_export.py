"""TFLite files: size, agreement with Keras when run by LiteRT, and nothing half-written."""

import hashlib
import os

import keras
import numpy as np
import pytest

import keras_taylor as kt
from keras_taylor._quantize import quantize as _quantize
from tests import nets

layers = keras.layers


def wide():
    """Large enough that the weights are most of the file."""
    return nets.randomized(
        keras.Sequential(
            [
                keras.Input((8, 8, 3), name="image"),
                layers.Conv2D(64, 3, activation="relu", name="a"),
                layers.DepthwiseConv2D(3, name="dw"),
                layers.BatchNormalization(name="bn"),
                layers.Conv2D(128, 3, name="b"),
                layers.GlobalAveragePooling2D(name="pool"),
                layers.Dense(4, name="logits"),
            ],
            name="wide",
        )
    )


@pytest.fixture(scope="module")
def model():
    return wide()


@pytest.fixture(scope="module")
def exports(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("lite")
    return {
        "float32": kt.export_tflite(model, folder / "single.tflite"),
        "float16": kt.export_tflite(model, folder / "half.tflite", quantizer=kt.Float16()),
    }


@pytest.mark.parametrize(("kind", "tolerance"), [("float32", 1e-5), ("float16", 5e-3)])
def test_the_file_computes_what_keras_computes(kind, tolerance, model, exports):
    """For other inputs and another batch size than those of the export's own check."""
    x, _ = nets.images(5, seed=3)
    (found,) = kt.litert.LiteModel(exports[kind].path)([x])
    expected = nets.outputs(model, x)[0]
    assert np.abs(found - expected).max() <= tolerance * np.abs(expected).max()
    assert exports[kind].max_relative_error <= tolerance
    assert found.dtype == np.float32


def test_sizes(model, exports):
    """Float32 needs 4 bytes for each parameter, float16 2, and a little for the graph."""
    assert exports["float32"].size == exports["float32"].path.stat().st_size
    # The four weights of a BatchNormalization are folded into two.
    params = model.count_params() - 2 * 64
    for kind, each in (("float32", 4), ("float16", 2)):
        assert each * params * 0.98 < exports[kind].size < each * params + 10_000


def test_a_pruned_model_is_a_smaller_file(model, exports, tmp_path):
    small = kt.prune(model, target=kt.Target(params=0.5), recipe=kt.Recipe(criterion="magnitude"), verbose=0).model
    assert kt.export_tflite(small, tmp_path / "small.tflite").size < 0.6 * exports["float32"].size


def test_several_inputs_and_outputs_keep_their_order(tmp_path):
    image, vector = keras.Input((4, 4, 3), name="z_image"), keras.Input((5,), name="a_vector")
    a = layers.Dense(3, name="on_image")(layers.Flatten()(image))
    b = layers.Dense(3, name="on_vector")(vector)
    model = nets.randomized(keras.Model([image, vector], [layers.Dense(2)(a + b), layers.Dense(7)(b), layers.Dense(1)(a)]))
    export = kt.export_tflite(model, tmp_path / "model.tflite")
    rng = np.random.default_rng(0)
    feed = [rng.normal(size=(1, 4, 4, 3)).astype("float32"), rng.normal(size=(1, 5)).astype("float32")]
    found = kt.litert.LiteModel(export.path, [x.name for x in model.inputs])(feed)
    for one, expected in zip(found, nets.outputs(model, feed), strict=True):
        np.testing.assert_allclose(one, expected, rtol=1e-4, atol=1e-5)
    with pytest.raises(kt.errors.BadInput, match="inputs must name the file's inputs in order"):
        kt.litert.LiteModel(export.path)(feed)


@pytest.mark.parametrize("shape", [layers.Flatten, lambda: layers.Reshape((8, 6))])
def test_any_batch_size_behind_a_reshape(shape, tmp_path):
    model = nets.randomized(keras.Sequential([keras.Input((4, 4, 3)), shape(), layers.Dense(2)]))
    x, _ = nets.images(3, shape=(4, 4, 3))
    (found,) = kt.litert.LiteModel(kt.export_tflite(model, tmp_path / "model.tflite").path)([x])
    np.testing.assert_allclose(found, nets.outputs(model, x)[0], rtol=1e-4, atol=1e-5)


class TestNothingHalfWritten:
    def refused(self, folder, error, text, **options):
        with pytest.raises(error, match=text):
            kt.export_tflite(options.pop("model", None) or wide(), options.pop("path", folder / "model.tflite"), **options)
        assert list(folder.iterdir()) == []

    def test_when_the_converter_raises(self, tmp_path, monkeypatch):
        def broken(*_):
            raise RuntimeError("the converter raises")

        monkeypatch.setattr(_quantize, "convert", broken)
        self.refused(tmp_path, RuntimeError, "the converter raises")

    def test_when_the_file_computes_something_else(self, tmp_path, monkeypatch, exports):
        other = kt.export_tflite(nets.randomized(wide(), seed=1), tmp_path / "other.tflite").path
        content = other.read_bytes()
        other.unlink()
        monkeypatch.setattr(_quantize, "convert", lambda *_: content)
        self.refused(tmp_path, kt.errors.ExportMismatch, "must compute what 'wide' computes")

    def test_when_the_model_gives_nan(self, tmp_path):
        model = wide()
        model.get_layer("logits").bias.assign([np.nan] * 4)
        self.refused(tmp_path, kt.errors.BadInput, "must be finite.*logits/bias", model=model)

    def test_when_the_disk_is_full(self, tmp_path, monkeypatch):
        def full(source, target):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "replace", full)
        self.refused(tmp_path, OSError, "No space left")

    def test_an_older_file_survives(self, tmp_path, monkeypatch):
        path = tmp_path / "model.tflite"
        path.write_bytes(b"old")
        monkeypatch.setattr(_quantize, "convert", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            kt.export_tflite(wide(), path)
        assert path.read_bytes() == b"old" and len(list(tmp_path.iterdir())) == 1

    def test_a_folder_that_is_not_there(self, tmp_path):
        self.refused(tmp_path, kt.errors.BadInput, "must be in a folder that exists", path=tmp_path / "no" / "model.tflite")

    def test_a_path_that_is_a_folder(self, tmp_path):
        self.refused(tmp_path, kt.errors.BadInput, "path must be a file", path=tmp_path)

    def test_an_unknown_quantizer(self, tmp_path):
        self.refused(tmp_path, kt.errors.UnknownName, "Did you mean 'float16'", quantizer="float6")
        self.refused(tmp_path, kt.errors.BadInput, "quantizer must be a kt quantizer", quantizer=8)

    def test_an_input_of_unknown_length(self, tmp_path):
        model = keras.Sequential([keras.Input((None, 3)), layers.Dense(2)])
        self.refused(tmp_path, kt.errors.BadInput, "must have known lengths", model=model)

    def test_a_read_only_place(self, tmp_path):
        """Nobody can write into /proc, not even root."""
        self.refused(tmp_path, kt.errors.BadInput, "path must be", path="/proc/model.tflite")


def test_files_follow_the_umask(tmp_path, model):
    old = os.umask(0o027)
    try:
        path = kt.export_tflite(model, tmp_path / "model.tflite").path
    finally:
        os.umask(old)
    assert path.stat().st_mode & 0o777 == 0o640


def test_the_note_in_the_file(tmp_path, model):
    plan = kt.PruningPlan({"a": (0, 1)})
    kt.export_tflite(model, tmp_path / "model.tflite", quantizer="float16", plan=plan)
    note = kt.litert.read_note(tmp_path / "model.tflite")
    assert note["quantizer"] == "float16" and note["model"] == "wide" and note["versions"]["keras"] == keras.__version__
    assert note["plan"] == hashlib.sha256(plan.to_json().encode()).hexdigest()
    (tmp_path / "other.tflite").write_bytes(kt.quantize(model).content)
    with pytest.raises(kt.errors.BadInput, match=r"must be one that kt.export_tflite wrote"):
        kt.litert.read_note(tmp_path / "other.tflite")


def test_what_is_quantized_is_not_quantized_again(tmp_path, model):
    made = kt.quantize(model, "float16")
    assert kt.export_tflite(made, tmp_path / "model.tflite").size > len(made.content)
    with pytest.raises(kt.errors.BadInput, match="must be left out"):
        kt.export_tflite(made, tmp_path / "model.tflite", quantizer="float16")


class TestFile:
    """What `kt.quantize` and `kt.export_tflite` return is one value."""

    def test_export_is_quantize_and_save(self, tmp_path, model):
        one = kt.export_tflite(model, tmp_path / "one.tflite", quantizer="float16", plan=kt.PruningPlan({"a": (0, 1)}))
        made = kt.quantize(model, "float16")
        other = made.save(tmp_path / "other.tflite", plan=kt.PruningPlan({"a": (0, 1)}))
        assert one.path.read_bytes() == other.path.read_bytes() == one.content == other.content
        assert made.path is None and made.note == {} and other.note == one.note == one.lite().note
        assert (one.size, one.inputs) == (len(one.content), ("image",)) and one.model is model

    def test_saving_again_keeps_the_note_or_replaces_it(self, tmp_path, model):
        first = kt.export_tflite(model, tmp_path / "one.tflite", plan=kt.PruningPlan({"a": (0, 1)}))
        again = first.save(tmp_path / "two.tflite")
        assert again.content == first.content and again.path == tmp_path / "two.tflite"
        third = first.save(tmp_path / "three.tflite", plan=kt.PruningPlan({"a": (0, 2)}))
        assert third.note["plan"] != first.note["plan"]
        assert {**third.note, "plan": first.note["plan"]} == first.note
        assert third.lite()([nets.images(2)[0]])[0].shape == (2, 4)

    def test_a_graph_will_do(self, model):
        assert kt.quantize(kt.trace(model)).content == kt.quantize(model).content

    def test_it_shows_itself(self, tmp_path, model):
        file = kt.export_tflite(model, tmp_path / "one.tflite", quantizer="float16")
        text = str(file)
        assert all(word in text for word in ("wide", "float16", f"{file.size:,}", "one.tflite", "CONV_2D"))
        assert "<table" in file._repr_html_() and file.render("markdown").count("|") > 10
        assert repr(file) == f"<TFLiteFile: 'wide', float16, {file.size:,} bytes>"

    def test_the_old_name_of_the_size(self, tmp_path, model):
        file = kt.export_tflite(model, tmp_path / "one.tflite")
        with pytest.warns(DeprecationWarning, match=r"\.bytes of TFLiteFile is called \.size now") as warned:
            assert file.bytes == file.size
        assert warned[0].filename == __file__

    def test_litert_takes_it(self, tmp_path, model):
        file = kt.quantize(model)
        assert kt.litert.LiteModel(file)([nets.images(2)[0]])[0].shape == (2, 4)
        assert kt.litert.compare_latency([file], rounds=1, runs=2, warm_up=0)[0].runs == 2
