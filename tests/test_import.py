"""`import keras_taylor` imports nothing else; then TensorFlow and Keras, but no TFMOT, no tf_keras, no new variable."""

import json
import subprocess
import sys

import pytest

REPORT = "import json, os, sys; print('REPORT', json.dumps([dict(os.environ), sorted({m.split('.')[0] for m in sys.modules})]))"
GATE = "assert keras.saving.get_registered_object('keras_taylor>TaylorGate') is not None"


def imported(statement, then="pass"):
    """Environment and top-level modules of a fresh process after a statement; what comes `then` must succeed, too."""
    script = f"{statement}\n{REPORT}\n{then}"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stderr
    report = next(line for line in run.stdout.splitlines() if line.startswith("REPORT")).removeprefix("REPORT")
    environment, modules = json.loads(report)
    environment.pop("PYTEST_CURRENT_TEST", None)
    return environment, modules


@pytest.fixture(scope="module")
def everything():
    """After every public name was used, before anything else imported Keras."""
    use = "import keras_taylor\nfor name in keras_taylor.__all__: getattr(keras_taylor, name)"
    return imported(use, then=f"import keras, tensorflow as tf; assert tf.keras.Model is keras.Model; {GATE}")


def test_import_is_lean(everything):
    environment, modules = imported("import keras_taylor")
    assert "keras_taylor" in modules
    assert not {"tensorflow", "keras", "numpy", "scipy", "rich", "typer"} & set(modules)
    assert environment == imported("pass")[0]
    environment, modules = everything
    # A saved gate loads after `import keras, keras_taylor`, whether or not any of its names is used.
    plain_environment, plain_modules = imported("import tensorflow, keras", then=f"import keras_taylor; {GATE}")
    assert "keras_taylor" in modules and {"tensorflow", "keras"} <= set(modules)
    assert not {"tensorflow_model_optimization", "tf_keras"} & set(modules)
    # Keras itself imports scikit-learn where there is one.
    assert not {"tensorflow_datasets", "typer", "sklearn", "matplotlib"} & (set(modules) - set(plain_modules))
    assert environment == plain_environment
    assert "TF_USE_LEGACY_KERAS" not in environment


def test_errors_need_neither_keras_nor_numpy():
    _, modules = imported("import keras_taylor as kt; kt.errors.BadInput")
    assert not {"tensorflow", "keras", "numpy"} & set(modules)


def test_tf_keras_is_not_swapped(everything):
    # The process itself compares `tf.keras` with Keras.
    assert "tf_keras" not in everything[1]
