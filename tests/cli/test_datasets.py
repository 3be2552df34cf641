"""Data that a command names."""

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds

from keras_taylor._cli import datasets
from keras_taylor.errors import BadInput, UnknownName

layers = keras.layers


def net(shape=(8, 8, 3), classes=3):
    return keras.Sequential([keras.Input(shape), layers.GlobalAveragePooling2D(), layers.Dense(classes)])


def batch(data):
    return next(iter(data))


def save_images(folder, classes="abc", count=5, size=(12, 10), value=None):
    for i, name in enumerate(classes):
        (folder / name).mkdir(parents=True)
        for j in range(count):
            image = np.full((*size, 3), 40 * i + j if value is None else value, "uint8")
            tf.io.write_file(str(folder / name / f"{j}.png"), tf.io.encode_png(image))


def test_digits_are_scaled_up_to_the_models_input():
    found = datasets.load("digits", net((24, 24, 1), 10))
    assert found.train[0].shape == (1437, 24, 24, 1) and found.test[1].shape == (360,)
    assert found.classes == 10 and found.train[0].max() == 1


def test_npz(tmp_path):
    x = np.full((6, 8, 8, 3), 255, "uint8")
    np.savez(tmp_path / "a.npz", x_train=x, y_train=[[0], [1], [2]] * 2, x_test=x[:2], y_test=[0, 1])
    found = datasets.load(f"npz:{tmp_path / 'a.npz'}", net(), scaling="tf")
    assert found.train[0].dtype == np.float32 and found.train[0].max() == 1
    assert found.train[1].tolist() == [0, 1, 2] * 2 and found.classes == 3


@pytest.mark.parametrize("test", ["test", "val"])
def test_a_folder_with_two_parts(tmp_path, test):
    save_images(tmp_path / "train")
    save_images(tmp_path / test, count=2, value=255)
    found = datasets.load(f"folder:{tmp_path}", net(), scaling="0-1", batch_size=4)
    x, y = batch(found.train)
    assert x.shape == (4, 8, 8, 3) and x.dtype == tf.float32
    np.testing.assert_allclose((255 * np.mean(x, (1, 2, 3))) // 40, y)  # the label goes with the image
    np.testing.assert_allclose(batch(found.test)[0], 1)
    assert sum(len(y) for _, y in found.train) == 15 and found.classes == 3


def test_a_folder_with_one_part_is_split_always_in_the_same_way(tmp_path):
    save_images(tmp_path, count=10)

    def read():
        found = datasets.load(f"folder:{tmp_path}", net())
        return [sorted(np.mean(np.concatenate([x for x, _ in part]), (1, 2, 3))) for part in (found.train, found.test)]

    (train, test), again = read(), read()
    assert len(train) == 24 and len(test) == 6 and not set(train) & set(test)
    assert again == [train, test]


def test_grey_images(tmp_path):
    save_images(tmp_path / "train")
    save_images(tmp_path / "test")
    assert batch(datasets.load(f"folder:{tmp_path}", net((8, 8, 1))).train)[0].shape[1:] == (8, 8, 1)


class TinyDigits(tfds.core.GeneratorBasedBuilder):
    """A data set that is made on the spot."""

    VERSION = tfds.core.Version("1.0.0")
    PARTS = {"train": 20, "test": 4}
    LABEL = 1

    def _info(self):
        features = {"image": tfds.features.Image(shape=(6, 6, 1)), "label": tfds.features.ClassLabel(num_classes=2)}
        return self.dataset_info_from_configs(features=tfds.features.FeaturesDict(features), supervised_keys=("image", "label"))

    def _split_generators(self, dl_manager):
        return {part: self._generate_examples(part) for part in self.PARTS}

    def _generate_examples(self, part):
        label = -1 if part == "test" and self.LABEL < 0 else None
        for i in range(self.PARTS[part]):
            yield f"{part}{i}", {"image": np.full((6, 6, 1), 10 * i, "uint8"), "label": i % 2 if label is None else label}


class OnePart(TinyDigits):
    PARTS = {"train": 20}


class HiddenLabels(TinyDigits):
    PARTS = {"train": 20, "test": 4, "validation": 3}
    LABEL = -1


@pytest.fixture
def built(tmp_path, monkeypatch):
    kinds = {"tiny_digits": TinyDigits, "one_part": OnePart, "hidden_labels": HiddenLabels}
    monkeypatch.setattr(tfds, "builder", lambda name: kinds[name](data_dir=tmp_path))
    tfds.disable_progress_bar()


@pytest.mark.parametrize(("name", "train", "test"), [("tiny_digits", 20, 4), ("one_part", 16, 4), ("hidden_labels", 20, 3)])
def test_tfds_resizes_colours_and_batches(built, name, train, test):
    found = datasets.load(f"tfds:{name}", net(), scaling="0-1", batch_size=8)
    x, y = batch(found.train)
    assert x.shape == (8, 8, 8, 3) and y.shape == (8,) and found.classes == 2
    np.testing.assert_allclose(np.round(25.5 * np.mean(x, (1, 2, 3))) % 2, y)
    assert [sum(len(y) for _, y in part) for part in (found.train, found.test)] == [train, test]


def test_torch_scaling():
    wanted = datasets.Wanted((1, 1, 3), "torch")
    expected = [[(1 - m) / s for m, s in zip((0.485, 0.456, 0.406), (0.229, 0.224, 0.225), strict=True)]]
    np.testing.assert_allclose(wanted.scaled(np.full((1, 3), 255, "uint8")), expected, rtol=1e-6)
    np.testing.assert_allclose(wanted.scaled(tf.fill((1, 3), tf.constant(255, tf.uint8))), expected, rtol=1e-6)


def test_what_cannot_be_used(tmp_path):
    np.savez(tmp_path / "part.npz", x_train=np.zeros((1, 8, 8, 3)))
    zeros = {"x_train": np.zeros((1, 9, 9, 3)), "y_train": [0], "x_test": np.zeros((1, 9, 9, 3)), "y_test": [0]}
    np.savez(tmp_path / "large.npz", **zeros)
    save_images(tmp_path / "parts" / "train")
    save_images(tmp_path / "parts" / "test", classes="ab")
    (tmp_path / "empty").mkdir()
    cases = {
        "digitz": (net(), UnknownName, "Did you mean 'digits'?"),
        "npz": (net(), BadInput, "npz:PATH"),
        "digits:3": (net((8, 8, 1), 10), BadInput, "npz:PATH"),
        "digits": (net(), BadInput, "(8k, 8k, 1)"),
        f"npz:{tmp_path / 'none.npz'}": (net(), BadInput, "x_train, y_train"),
        f"npz:{tmp_path / 'part.npz'}": (
            net(),
            BadInput,
            "with x_train. Write one with numpy.savez(path, x_train=..., y_train=...",
        ),
        f"npz:{tmp_path / 'large.npz'}": (net(), BadInput, "Received: (9, 9, 3)"),
        f"folder:{tmp_path / 'none'}": (net(), BadInput, "a folder of images per class"),
        f"folder:{tmp_path / 'empty'}": (net(), BadInput, "a folder with images"),
        f"folder:{tmp_path / 'parts'}": (net(), BadInput, "the same classes"),
        "tfds:no_such_set": (net(), BadInput, "must name a data set"),
    }
    for source, (model, kind, text) in cases.items():
        with pytest.raises(kind) as raised:
            datasets.load(source, model)
        assert text in str(raised.value), (source, str(raised.value))
    with pytest.raises(BadInput, match="an output for each class"):
        datasets.load("digits", net((8, 8, 1), 9))
    with pytest.raises(UnknownName, match="Did you mean 'torch'"):
        datasets.load("digits", net((8, 8, 1), 10), scaling="torche")
    with pytest.raises(BadInput, match="3 colours"):
        datasets.load("digits", net((8, 8, 1), 10), scaling="torch")
    with pytest.raises(BadInput, match="already"):
        datasets.load("digits", net((8, 8, 1), 10), scaling="0-1")
    with pytest.raises(BadInput, match="one known shape"):
        datasets.load("digits", net((None, None, 1), 10))


class OxfordFlowers102(tfds.core.GeneratorBasedBuilder):
    """A stand-in with the name and the parts of the real one, to prepare a folder with."""

    name = "oxford_flowers102"
    VERSION = tfds.core.Version("2.1.1")
    PARTS = {"train": 4, "validation": 3, "test": 5}

    def _info(self):
        features = {
            "file_name": tfds.features.Text(),
            "image": tfds.features.Image(),
            "label": tfds.features.ClassLabel(num_classes=102),
        }
        return self.dataset_info_from_configs(features=tfds.features.FeaturesDict(features), supervised_keys=("image", "label"))

    def _split_generators(self, dl_manager):
        return {part: self._generate_examples(part) for part in self.PARTS}

    def _generate_examples(self, part):
        for i in range(self.PARTS[part]):
            image = np.full((20 + i, 30, 3), 10 * i + len(part), "uint8")
            yield f"{part}{i}", {"file_name": f"{part}{i}", "image": image, "label": i}


def test_pixels_of_a_prepared_folder_are_those_of_the_papers_parts(tmp_path, monkeypatch):
    tfds.disable_progress_bar()
    OxfordFlowers102(data_dir=tmp_path).download_and_prepare()
    real = tfds.builder
    monkeypatch.setattr(tfds, "builder", lambda name: real(name, data_dir=tmp_path))
    found = datasets.pixels("tfds:oxford_flowers102", 16)
    assert found.classes == 102 and found.train[0].shape == (7, 16, 16, 3) and found.test[0].shape == (5, 16, 16, 3)
    assert found.train[0].dtype == np.uint8
    values = {"train": 5, "validation": 10, "test": 4}  # what the images of each part hold: 10 * label + this
    assert (
        sorted((found.train[0].mean((1, 2, 3)) - 10 * found.train[1]).tolist())
        == [values["train"]] * 4 + [values["validation"]] * 3
    )
    assert (found.test[0].mean((1, 2, 3)) - 10 * found.test[1]).tolist() == [values["test"]] * 5


@pytest.mark.parametrize(("name", "classes"), [("oxford_flowers102", 102), ("caltech_birds2011", 200)])
def test_pixels_of_the_papers_data(name, classes):
    with tfds.testing.mock_data(num_examples=3):
        found = datasets.pixels(f"tfds:{name}", 16)
    assert found.classes == classes and found.test[0].shape == (3, 16, 16, 3) and found.train[0].dtype == np.uint8


def test_tfds_without_a_network(tmp_path, monkeypatch):
    real = tfds.builder
    monkeypatch.setattr(tfds, "builder", lambda name: real(name, data_dir=tmp_path))

    def unreachable(self, **options):
        raise ConnectionError("no route to host")

    monkeypatch.setattr(tfds.core.DatasetBuilder, "download_and_prepare", unreachable)
    with pytest.raises(BadInput) as caught:
        datasets.pixels("tfds:oxford_flowers102", 16)
    for words in ("no route to host", "tfds build oxford_flowers102", f"into {str(tmp_path)!r}", "TFDS_DATA_DIR"):
        assert words in str(caught.value)


def test_pixels_of_files(tmp_path):
    x = np.arange(2 * 9 * 7 * 3, dtype="uint8").reshape(2, 9, 7, 3)
    np.savez(tmp_path / "a.npz", x_train=x, y_train=[[0], [1]], x_test=x, y_test=[1, 0])
    found = datasets.pixels(f"npz:{tmp_path / 'a.npz'}", 16)
    np.testing.assert_array_equal(found.train[0], x)
    assert found.train[0].dtype == np.uint8 and found.train[1].tolist() == [0, 1] and found.classes == 2
    save_images(tmp_path / "images" / "train")
    save_images(tmp_path / "images" / "test", count=2)
    found = datasets.pixels(f"folder:{tmp_path / 'images'}", 8)
    assert found.train[0].shape == (15, 8, 8, 3) and found.test[0].dtype == np.uint8
    np.savez(tmp_path / "b.npz", x_train=x / 255, y_train=[0, 1], x_test=x / 255, y_test=[1, 0])
    np.savez(tmp_path / "c.npz", x_train=x[0], y_train=[0], x_test=x[0], y_test=[1])
    for name, message in (("npz:b.npz", "Received: float64"), ("npz:c.npz", "must have the shape"), ("digits", "8k, 8k, 1")):
        with pytest.raises(BadInput, match=message):
            datasets.pixels(name.replace(":", f":{tmp_path}/"), 16)
