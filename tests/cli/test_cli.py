"""The `keras-taylor` command."""

import errno
import sys

import keras
import numpy as np
import pytest
import tensorflow_datasets as tfds
from typer.testing import CliRunner

from keras_taylor._cli import models
from keras_taylor._cli.app import app
from keras_taylor._repair import methods
from keras_taylor.errors import BadInput
from keras_taylor.studies import _grid_net


def digits_net():
    model = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Conv2D(8, 3, activation="relu")])
    model.add(keras.layers.GlobalAveragePooling2D())
    model.add(keras.layers.Dense(10, activation="softmax"))
    return model


@pytest.fixture(scope="module")
def digits_model(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "model.keras"
    digits_net().save(path)
    return path


def test_trace_prints_the_table(tmp_path):
    path = tmp_path / "model.keras"
    keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, name="hidden"), keras.layers.Dense(2)]).save(path)
    result = CliRunner().invoke(app, ["trace", str(path)])
    assert result.exit_code == 0
    assert "hidden" in result.output and "model output" in result.output


def test_trace_takes_a_model_of_keras_applications_without_its_weights(monkeypatch):
    asked = []

    def builder(weights):
        asked.append(weights)
        return digits_net()

    monkeypatch.setattr(keras.applications, "MobileNet", builder)
    result = CliRunner().invoke(app, ["trace", "applications:MobileNet"])
    assert result.exit_code == 0 and "conv2d" in result.output and asked == [None]


def test_a_missing_file_is_one_line_and_exit_code_2(tmp_path):
    result = CliRunner().invoke(app, ["trace", str(tmp_path / "none.keras")])
    assert result.exit_code == 2
    assert "Traceback" not in result.output


def test_demo_makes_what_it_says(tmp_path, monkeypatch):
    monkeypatch.setattr(methods, "ENOUGH", sys.maxsize)  # tuning is tested elsewhere, and takes its time
    result = CliRunner().invoke(app, ["demo", "--epochs", "1", "--folder", str(tmp_path)])
    assert result.exit_code == 0, result.output
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dense.tflite", "pruned.keras", "pruned.tflite"]
    assert "pruned / dense" in result.output


def test_sweep_makes_a_table_a_figure_and_an_answer(tmp_path, digits_model):
    common = ["sweep", "--model", str(digits_model), "--data", "digits", "--output", str(tmp_path / "out")]
    options = [*common, "--targets", "1,0.5", "--quantizers", "float32,int8_ptq", "--epochs", "0", "--repair", "none"]
    result = CliRunner().invoke(app, options)
    assert result.exit_code == 0, result.output
    assert "4/4 macs0.5-seed0-prune_quantize-int8_ptq" in result.output and "At 8 bits" in result.output
    assert {"table.json", "table.csv", "figure.png", "sweep.json"} <= {path.name for path in (tmp_path / "out").iterdir()}
    result = CliRunner().invoke(app, [*options[:-4], "--epochs", "1"])
    assert result.exit_code == 2 and "settings.epochs was 0 and is 1" in result.output
    result = CliRunner().invoke(app, [*common, "--targets", "1,half"])
    assert result.exit_code == 2 and "must be numbers" in result.output


def test_sweep_takes_a_model_of_keras_applications(monkeypatch, tmp_path):
    monkeypatch.setattr(keras.applications, "MobileNet", lambda weights: digits_net())
    common = ["sweep", "--model", "applications:MobileNet", "--data", "digits", "--output", str(tmp_path)]
    result = CliRunner().invoke(app, [*common, "--targets", "1", "--quantizers", "float32", "--epochs", "0"])
    assert result.exit_code == 0, result.output
    assert "1/1 macs1.0-seed0-prune_quantize-float32" in result.output and "files: " in result.output


@pytest.mark.parametrize("study", ["correlation", "disagree", "blend", "obd"])
def test_studies(study, tmp_path, digits_model):
    options = ["study", study, "--model", str(digits_model), "--data", "digits", "--output", str(tmp_path / "out")]
    options += ["--examples", "128", "--seeds", "1"]
    options += {
        "blend": ["--weights", "0,1,inf", "--shares", "0.7", "--folds", "2"],
        "obd": ["--timed", "64", "--no-memory"],
        "disagree": ["--shares", "0.2"],
    }.get(study, [])
    result = CliRunner().invoke(app, options)
    assert result.exit_code == 0, result.output
    assert {f"{study}.json", f"{study}.md", f"{study}.png"} <= {path.name for path in (tmp_path / "out").iterdir()}
    again = CliRunner().invoke(app, options)
    assert again.exit_code == 0 and "scores by" in result.output and "scores by" not in again.output
    result = CliRunner().invoke(app, [*options, "--examples", "64"])
    assert result.exit_code == 2 and "settings.examples was 128 and is 64" in result.output


def test_the_study_that_trains(tmp_path, digits_model, monkeypatch):
    monkeypatch.setattr(methods, "ENOUGH", sys.maxsize)  # as above
    options = ["study", "baseline", "--model", str(digits_model), "--data", "digits", "--output", str(tmp_path / "out")]
    options += ["--seeds", "1", "--epochs", "1", "--batch-size", "512", "--share", "0.7"]
    result = CliRunner().invoke(app, options)
    assert result.exit_code == 2 and "epochs_before must be given" in result.output  # it was compiled, and never trained
    result = CliRunner().invoke(app, [*options, "--epochs-before", "1"])
    assert result.exit_code == 0, result.output
    assert "Is it still minor against N + M" in " ".join(result.output.split())
    assert {"baseline.json", "baseline.md", "baseline.png"} <= {path.name for path in (tmp_path / "out").iterdir()}
    again = CliRunner().invoke(app, [*options, "--epochs-before", "1"])
    assert again.exit_code == 0 and "uniform width, seed 0" in result.output and "uniform width, seed 0" not in again.output
    result = CliRunner().invoke(app, ["study", "correlation", *options[2:10], "--examples", "64"])
    assert result.exit_code == 2 and "settings.examples was absent and is 64" in result.output


def tiny_net(self, classes):
    """Stands in for AlexNet and VGG-16."""
    inputs = keras.Input((self.size, self.size, 3))
    x = keras.layers.Conv2D(8, 3, strides=4, activation="relu")(keras.layers.Rescaling(1 / 255)(inputs))
    return keras.Model(inputs, keras.layers.Dense(classes)(keras.layers.GlobalAveragePooling2D()(x)), name=self.name)


def test_study_grid(tmp_path, monkeypatch):
    monkeypatch.setattr(_grid_net.Net, "made", tiny_net)
    x, y = np.random.default_rng(0).integers(0, 256, (16, 40, 40, 3)).astype("uint8"), np.arange(16) % 2
    np.savez(tmp_path / "noise.npz", x_train=x, y_train=y, x_test=x, y_test=y)
    options = ["study", "grid", "--data", f"npz:{tmp_path / 'noise.npz'}", "--output", str(tmp_path / "out"), "--size", "32"]
    options += ["--recipe", "small", "--net", "vgg16", "--criterion", "magnitude,unpruned", "--epochs", "1", "--updates", "1"]
    options += ["--maps", "4", "--until", "0.5", "--oracle-examples", "0", "--batch-size", "8"]
    result = CliRunner().invoke(app, options)
    assert result.exit_code == 0, result.output
    assert "3/3 VGG-16 on noise, seed 0: unpruned, N + M" in result.output and "trained from scratch" in result.output
    assert {"grid.json", "grid.md", "grid.png"} <= {path.name for path in (tmp_path / "out").iterdir()}
    again = CliRunner().invoke(app, options)
    assert again.exit_code == 0 and "3/3" not in again.output, again.output
    result = CliRunner().invoke(app, [*options, "--updates", "2"])
    assert result.exit_code == 2 and "recipes.vgg16.updates was 1 and is 2" in result.output


def test_study_grid_tries_the_papers_data_and_stores_nothing(tmp_path, monkeypatch):
    """The whole command up to the first removal, on images that TFDS makes up."""
    monkeypatch.setattr(_grid_net.Net, "made", tiny_net)
    options = ["study", "grid", "--output", str(tmp_path / "out"), "--dry-run", "--weights", "vgg16=none,alexnet=none"]
    with tfds.testing.mock_data(num_examples=40):
        result = CliRunner().invoke(app, options, env={"COLUMNS": "200"})
    assert result.exit_code == 0, result.output
    text = " ".join(result.output.split())
    for words in (
        "AlexNet on oxford_flowers102",
        "VGG-16 on caltech_birds2011",
        "2,040 + 6,149",
        "5,994 + 5,794",
        "In all, for 1 seed",
    ):
        assert words in text
    assert not (tmp_path / "out").exists()
    result = CliRunner().invoke(app, options[:-2])
    assert result.exit_code == 2 and "weights must be given for each net" in result.output


def test_a_study_names_models_that_exist(tmp_path):
    options = ["study", "correlation", "--model", "applications:ResNet5", "--data", "digits", "--output", str(tmp_path)]
    result = CliRunner().invoke(app, options)
    assert result.exit_code == 2 and "ResNet50" in result.output


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (
            BadInput("x must be [bold]small[/bold]. " + 80 * "Long. "),
            2,
            "Error: x must be [bold]small[/bold]. " + 79 * "Long. ",
        ),
        (ValueError("from Keras"), 2, "Error: from Keras (ValueError)"),
        (OSError(errno.ENOSPC, "No space left"), 2, "No space left (OSError)"),
        (KeyboardInterrupt(), 130, "Interrupted: The same command goes on in "),
    ],
)
def test_how_a_command_ends(monkeypatch, tmp_path, digits_model, error, code, text):
    def fail(*args, **options):
        raise error

    monkeypatch.setattr(models, "load", fail)
    options = ["--model", str(digits_model), "--data", "digits", "--output", str(tmp_path)]
    for command in (["sweep"], ["study", "obd"]):
        result = CliRunner().invoke(app, [*command, *options])
        assert result.exit_code == code and text in result.stderr and result.stdout == ""
        assert len(result.stderr.splitlines()) == 1  # not wrapped


def test_control_c_without_a_folder(monkeypatch, digits_model):
    def interrupted(*args, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(models, "load", interrupted)
    result = CliRunner().invoke(app, ["trace", str(digits_model)])
    assert result.exit_code == 130 and result.stderr == "Interrupted: Run again, it starts anew.\n"


@pytest.mark.parametrize(
    ("missing", "extra", "line"),
    [
        ("sklearn", "demo", "demo"),
        ("ai_edge_litert", "demo", "demo"),
        ("ai_edge_litert", "litert", "sweep --data digits"),
        ("matplotlib", "studies", "sweep --data digits"),
        ("matplotlib", "studies", "study blend --data digits"),
        ("tensorflow_model_optimization", "qat", "sweep --data digits --quantizers float32,int8_qat"),
        ("sklearn", "demo", "sweep --data digits"),
        ("tensorflow_datasets", "datasets", "study obd --data tfds:mnist"),
    ],
)
def test_a_missing_package_is_named_before_any_work(monkeypatch, tmp_path, digits_model, missing, extra, line):
    monkeypatch.setitem(sys.modules, missing, None)
    monkeypatch.setattr(models, "load", lambda *args, **options: pytest.fail("work"))
    options = [] if line == "demo" else ["--model", str(digits_model), "--output", str(tmp_path)]
    result = CliRunner().invoke(app, [*line.split(), *options], env={"COLUMNS": "400"})
    assert result.exit_code == 2
    assert f"`{missing}` is needed for this and is not installed. Run: pip install 'keras-taylor[{extra}]'." in result.stderr


def test_a_sweep_without_quantization_aware_training_does_not_need_its_packages(monkeypatch, tmp_path, digits_model):
    monkeypatch.setitem(sys.modules, "tensorflow_model_optimization", None)
    options = ["sweep", "--model", str(digits_model), "--data", "digits", "--output", str(tmp_path), "--epochs", "0"]
    result = CliRunner().invoke(app, [*options, "--targets", "1", "--quantizers", "float32"])
    assert result.exit_code == 0, result.output
