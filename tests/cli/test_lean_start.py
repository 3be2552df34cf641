"""Help, version and mistakes in the arguments come without Keras and TensorFlow, and what is known without them is right."""

import dataclasses
import inspect
import json
import subprocess
import sys

import keras
import pytest
import typer
from typer.testing import CliRunner

from keras_taylor import studies
from keras_taylor._cli import datasets, options, study_grid
from keras_taylor._cli.app import app
from keras_taylor._cli.sources import kinds
from keras_taylor._cli.sources.images import SCALED
from keras_taylor._cli.study import app as study_app
from keras_taylor._repair.methods import METHODS
from keras_taylor._run.recipe import Recipe
from keras_taylor._score.score import DEFAULT_CRITERION
from keras_taylor._sweep.grid import ORDERS
from keras_taylor.quantizers import registered
from keras_taylor.studies._grid_arms import ARMS
from keras_taylor.studies._grid_needs import IMAGES
from keras_taylor.studies._grid_net import TITLES
from keras_taylor.studies._grid_recipe import RECIPES, GridRecipe

# Those that look at a model of yours.
STUDIES = [name for name in studies.__all__ if name.islower() and not name.startswith("grid")]
COMMANDS = ["demo", "trace", "sweep", *(f"study {name}" for name in STUDIES), "study grid"]
SWEEP = "sweep --model model.keras --data digits --output out"
STUDY = "study blend --model model.keras --data digits --output out"
GRID = "study grid --output out"
MISTAKES = {
    "--nothing": "No such option",
    "swep": "Did you mean 'sweep'?",
    "study blnd": "Did you mean 'blend'?",
    "trace": "Missing argument 'MODEL'",
    "trace none.keras": "must be a .keras file that exists",
    "trace applications:ResNet5": "Did you mean 'ResNet50'?",
    "demo --epochs": "requires an argument",
    "demo --epochs many": "valid integer",
    "demo --target 0": "Invalid value for '--target'",
    "demo --folder model.keras": "is a file",
    "sweep --data digits --output out": "Missing option '--model'",
    "sweep --model none.keras --data digits --output out": "must be a .keras file that exists",
    "sweep --model model.keras --data digitz --output out": "Did you mean 'digits'?",
    "sweep --model model.keras --data npz:none.npz --output out": "where no file is",
    "sweep --model model.keras --data none.npz --output out": "Write npz:none.npz",
    "sweep --model model.keras --data images/flowers --output out": "Write npz:images/flowers",
    "sweep --model model.keras --data folder:none --output out": "a folder of images per class",
    "sweep --model model.keras --data tfds --output out": "tfds:NAME",
    f"{SWEEP} --targets 1,2": "must be shares of the MACs in (0, 1]",
    f"{SWEEP} --targets 1,nan": "must be shares of the MACs in (0, 1]",
    f"{SWEEP} --targets 1,half": "must be numbers",
    f"{SWEEP} --targets 1,1.0": "must be different",
    f"{SWEEP} --quantizers float32,int8_ptqq": "Did you mean 'int8_ptq'?",
    f"{SWEEP} --quantizers float32,float32": "must be different",
    f"{SWEEP} --orders prune": "Did you mean 'prune_quantize'?",
    f"{SWEEP} --criterion taylr": "Did you mean 'taylor'?",
    f"{SWEEP} --repair batchnrm": "Did you mean 'batchnorm'?",
    f"{SWEEP} --scaling torche": "Did you mean 'torch'?",
    f"{SWEEP} --learning-rate 0": "must be a number above 0",
    f"{STUDY} --shares 1": "must be shares between 0 and 1",
    f"{STUDY} --weights 0,-1": "must be numbers of at least 0",
    f"{STUDY} --folds 1": "Invalid value for '--folds'",
    "study baseline --model model.keras --data digits --output out --epochs-before 0": "Invalid value for '--epochs-before'",
    f"{GRID} --data npz:none.npz": "where no file is",
    f"{GRID} --data digits": "three colours",
    f"{GRID} --data tfds:a --data tfds:a": "must have different names",
    f"{GRID} --net vgg": "Did you mean 'vgg16'?",
    f"{GRID} --criterion taylr": "Did you mean 'taylor'?",
    f"{GRID} --recipe papr": "Did you mean 'paper'?",
    f"{GRID} --weights vgg16": "NET=imagenet",
    f"{GRID} --weights vgg=imagenet": "Did you mean 'vgg16'?",
    f"{GRID} --epochs 0": "Invalid value for '--epochs'",
    f"{GRID} --updates 0": "Invalid value for '--updates'",
    f"{GRID} --until 1": "Invalid value for '--until'",
}
SCRIPT = """
import json, os, sys
from typer.testing import CliRunner
from keras_taylor._cli.app import app
os.chdir(sys.argv[1])
found = {}
for line in json.loads(sys.argv[2]):
    result = CliRunner().invoke(app, line.split(), env={"COLUMNS": "400"})
    found[line] = result.exit_code, result.output, sorted({"keras", "tensorflow", "sklearn", "matplotlib"} & set(sys.modules))
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def answers(tmp_path_factory):
    """Exit code, output and slow modules that are there after each line, all in one process in which nothing was imported."""
    folder = tmp_path_factory.mktemp("here")
    (folder / "model.keras").write_text("never read")
    lines = ["", "--help", "--version", "study", "study --help", *(f"{name} --help" for name in COMMANDS), *MISTAKES]
    run = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(folder), json.dumps(lines)], capture_output=True, text=True, timeout=300
    )
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout.splitlines()[-1])


def test_nothing_imports_keras_or_tensorflow(answers):
    assert {line: slow for line, (_, _, slow) in answers.items() if slow} == {}
    assert len(answers) == len(MISTAKES) + 14


@pytest.mark.parametrize("line", MISTAKES)
def test_a_mistake_is_named(answers, line):
    code, output, _ = answers[line]
    assert code == 2 and MISTAKES[line] in output and "Traceback" not in output, output


def test_the_version(answers):
    code, output, _ = answers["--version"]
    assert code == 0 and output.startswith("keras-taylor 0.")


def test_the_package_is_the_command():
    run = subprocess.run([sys.executable, "-m", "keras_taylor", "--version"], capture_output=True, text=True, timeout=60)
    assert run.returncode == 0 and run.stdout.startswith("keras-taylor 0.")


@pytest.mark.parametrize("line", ["--help", "study --help", *(f"{name} --help" for name in COMMANDS)])
def test_every_help_ends_with_an_example_that_fits(answers, line):
    code, output, _ = answers[line]
    assert code == 0
    last = output.strip().splitlines()[-1].strip()
    command = line.removesuffix("--help").strip()
    assert last.startswith(f"Example: keras-taylor {command}".strip())
    of_group = {"": "trace", "study": "study correlation"}
    described = answers[f"{of_group.get(command, command)} --help"][1]
    assert all(word in described for word in last.split() if word.startswith("--"))


def test_what_is_known_without_imports():
    assert set(registered()) == set(options.QUANTIZERS)
    assert ORDERS == options.ORDERS
    assert options.REPAIRS == ("auto", "none", *METHODS)
    assert tuple(SCALED) == kinds.SCALINGS
    assert tuple(datasets._READ) == kinds.KINDS
    assert study_grid.NETS == tuple(TITLES) and study_grid.ARMS == ARMS and study_grid.RECIPES == tuple(RECIPES)
    assert set(datasets.PAPER_SPLITS) == {source.partition(":")[2] for source in study_grid.PAPER} == set(IMAGES)
    assert Recipe().criterion.name == DEFAULT_CRITERION
    builders = {name for name in dir(keras.applications) if callable(getattr(keras.applications, name))}
    assert set(options._applications()) == builders


@pytest.mark.parametrize("name", STUDIES)
def test_a_study_has_the_options_of_its_function(name):
    command = typer.main.get_command(study_app).commands[name]
    ours = {one.name for one in command.params} - {"model", "data", "output", "scaling", "help"}
    function = inspect.signature(getattr(studies, name)).parameters
    assert ours <= set(function)
    for one in command.params:
        if one.name in ours - {"seeds"}:
            found = options.numbers(one.default) if isinstance(one.default, str) else one.default
            default = function[one.name].default
            assert found == (list(default) if isinstance(default, tuple) else default), one.name
    assert len(function["seeds"].default) == next(one.default for one in command.params if one.name == "seeds")


def test_study_grid_has_the_options_of_its_recipe():
    ours = {one.name for one in typer.main.get_command(study_app).commands["grid"].params}
    others = {"momentum", "weight_decay", "library_steps", "augment", "cosine"}
    assert {entry.name for entry in dataclasses.fields(GridRecipe)} - others <= ours


def test_where_keras_cannot_be_found_its_models_are_not_guessed(monkeypatch, tmp_path):
    path = tmp_path / "model.keras"
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert options._applications() == []
    assert CliRunner().invoke(app, ["trace", str(path)]).exit_code == 2
