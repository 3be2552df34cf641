"""keras_taylor: structured pruning for Keras 3. `import keras_taylor as kt`.

The public names stand in `__init__.pyi`. Each is imported when it is first used: TensorFlow takes seconds to import, and
`keras-taylor --help`, or a program that needs `kt.errors` alone, need not wait for it.
"""

import ast
import importlib
import pkgutil
import sys

__version__ = "0.1.0"

# Public name -> the module that it comes from, and its name there.
_HOMES = {
    alias.asname or alias.name: (node.module, alias.name)
    for node in ast.parse(pkgutil.get_data(__name__, "__init__.pyi") or b"").body
    if isinstance(node, ast.ImportFrom)
    for alias in node.names
}
__all__ = sorted(_HOMES)

# Names that stood here before, and where they are now; they work for one release.
_MOVED = {
    "Export": "results.TFLiteFile",
    "Float32": "quantizers.Float32",
    "Int16x8PTQ": "quantizers.Int16x8PTQ",
    "Latency": "litert.Latency",
    "Legacy": "rules.TFKerasForm",
    "LiteModel": "litert.LiteModel",
    "Measurement": "results.Measurement",
    "PassThrough": "rules.PassThrough",
    "PruningResult": "results.PruningResult",
    "Quantized": "results.TFLiteFile",
    "Quantizer": "quantizers.Quantizer",
    "Repair": "results.Repair",
    "SweepGroup": "results.SweepGroup",
    "SweepRow": "results.SweepRow",
    "Verification": "results.Verification",
    "compare_latency": "litert.compare_latency",
    "read_note": "litert.read_note",
}


def __getattr__(name: str) -> object:
    """Import a public name when it is first used; from then on it is an ordinary attribute."""
    if name in _MOVED:
        home, _, known_as = _MOVED[name].rpartition(".")
        importlib.import_module(f"{__name__}.errors").warn(f"kt.{name} is called kt.{_MOVED[name]} now.", DeprecationWarning)
        return getattr(importlib.import_module(f"{__name__}.{home}"), known_as)
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}", name=name, obj=sys.modules[__name__])
    home, known_as = _HOMES[name]
    if home == __name__:  # one of the modules of this package
        value: object = importlib.import_module(f"{home}.{known_as}")
    else:
        value = getattr(importlib.import_module(home), known_as)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*__all__, *(name for name in globals() if name.startswith("__"))})


# Where Keras is there already, little time is left to save, and a saved `TaylorGate` loads from here on, as it does after the
# first use of any name that works on a model.
if {"keras", "tensorflow"} & sys.modules.keys():
    importlib.import_module("keras_taylor._record.gate")
