"""The `keras-taylor` command."""

import keras
from typer.testing import CliRunner

from keras_taylor._cli import app


def test_trace_prints_the_table(tmp_path):
    path = tmp_path / "model.keras"
    keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, name="hidden"), keras.layers.Dense(2)]).save(path)
    result = CliRunner().invoke(app, ["trace", str(path)])
    assert result.exit_code == 0
    assert "hidden" in result.output and "model output" in result.output


def test_a_missing_file_is_one_line_and_exit_code_2(tmp_path):
    result = CliRunner().invoke(app, ["trace", str(tmp_path / "none.keras")])
    assert result.exit_code == 2
    assert "Traceback" not in result.output


def test_demo_makes_what_it_says(tmp_path):
    result = CliRunner().invoke(app, ["demo", "--epochs", "1", "--folder", str(tmp_path)])
    assert result.exit_code == 0, result.output
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dense.tflite", "pruned.keras", "pruned.tflite"]
    assert "pruned / dense" in result.output
