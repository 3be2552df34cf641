"""`import keras_taylor` is lean: no TFMOT, no tf_keras, no changed environment variable."""

import json
import subprocess
import sys

REPORT = "; import json, os, sys; print(json.dumps([dict(os.environ), sorted({m.split('.')[0] for m in sys.modules})]))"


def imported(statement):
    """Environment and top-level modules of a fresh process after a statement."""
    run = subprocess.run([sys.executable, "-c", statement + REPORT], capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout.splitlines()[-1])


def test_import_is_lean():
    environment, modules = imported("import keras_taylor")
    plain_environment, plain_modules = imported("import tensorflow, keras")
    assert "keras_taylor" in modules
    assert not {"tensorflow_model_optimization", "tf_keras"} & set(modules)
    # Keras itself imports scikit-learn where there is one.
    assert not {"tensorflow_datasets", "typer", "sklearn"} & (set(modules) - set(plain_modules))
    assert environment == plain_environment
    assert "TF_USE_LEGACY_KERAS" not in environment


def test_tf_keras_is_not_swapped():
    _, modules = imported("import keras_taylor, keras, tensorflow as tf; assert tf.keras.Model is keras.Model")
    assert "tf_keras" not in modules
