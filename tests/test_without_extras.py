"""The core works where no optional package is installed."""

import json
import subprocess
import sys

SCRIPT = """
import importlib.abc, json, sys

BLOCKED = "ai_edge_litert tensorflow_model_optimization tf_keras matplotlib sklearn tensorflow_datasets typer".split()

class Blocked(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in BLOCKED:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Blocked())
import keras, numpy as np
import keras_taylor as kt

model = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Conv2D(8, 3, activation="relu"),
                          keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(2)])
model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
rng = np.random.default_rng(0)
x, y = rng.normal(size=(16, 8, 8, 1)).astype("float32"), rng.integers(0, 2, 16)
before = kt.trace(model).macs
pruned = kt.prune(model, (x, y), target=kt.Target(macs=0.5), verbose=0)
assert kt.verify(model, pruned.plan, kt.rebuild(model, pruned.plan)).ok and pruned.repair is not None
trained = kt.fit_with_pruning(model, x, y, target=kt.Target(macs=0.5), epochs=2, verbose=0)
assert str(trained.report) and str(kt.trace(trained.model))
errors = []
for wanted in (lambda: kt.quantize(model), lambda: kt.export_tflite(model, "/tmp/never.tflite"),
               lambda: kt.measure(b"    TFL3"),
               lambda: kt.prune(model, target=kt.Target(latency=0.5), recipe=kt.Recipe(criterion="magnitude"), verbose=0)):
    try:
        wanted()
    except (ImportError, ValueError) as error:
        errors.append([type(error).__name__, isinstance(error, ImportError), str(error)])
imported = sorted(set(BLOCKED) & set(sys.modules))
print(json.dumps([before, kt.trace(pruned.model).macs, errors, kt.bops(model, "int8_ptq"), imported]))
"""


def test_the_core_needs_none_of_them():
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    before, after, errors, bops, imported = json.loads(done.stdout.splitlines()[-1])
    assert after <= before / 2 and bops == before * 64 and imported == []
    assert len(errors) == 4
    for kind, is_import_error, text in errors:
        assert (kind, is_import_error) == ("MissingPackage", True)
        assert text == "`ai_edge_litert` is needed for this and is not installed. Run: pip install 'keras-taylor[litert]'."
