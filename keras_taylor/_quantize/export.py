"""Export to TFLite: a checked file, with a note inside about what it was made of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from keras_taylor._output.files import check_writable
from keras_taylor._plan.pruning_plan import PruningPlan, check_plan
from keras_taylor._quantize.quantize import quantize
from keras_taylor._quantize.tflite_file import TFLiteFile
from keras_taylor._trace.input_range import warns_once
from keras_taylor.errors import BadInput, shown
from keras_taylor.quantizers import Quantizer


@warns_once
def export_tflite(
    model: Any,
    path: str | Path,
    *,
    quantizer: str | Quantizer | None = None,
    plan: PruningPlan | None = None,
    batch_size: int | None = None,
    seed: int = 0,
    verbose: Any = "auto",
) -> TFLiteFile:
    """Write a model as a `.tflite` file, run the file with LiteRT, and compare it with the model.

    The file appears at `path` only after the check has passed. Its batch size is that of `batch_size`. `kt.litert.read_note`
    reads what the file says about itself.

    Args:
        model: a built Functional or Sequential model, what `kt.trace` made of one, or what `kt.quantize` did.
        path: the file to write; its folder must exist.
        quantizer: the precision, as `kt.quantize` takes it; None for float32.
        plan: what was pruned; its hash is noted in the file.
        batch_size: how many examples the file takes at a time, as `kt.quantize` takes it.
        seed: for the random inputs of the check.
        verbose: progress of training for `Int8QAT`, as in `fit`: 0 is silent; nothing else is shown.

    Returns:
        The file: path, size in bytes, and the error that was measured.

    Raises:
        BadInput: an unwritable path, an unknown quantizer, or what `kt.quantize` refuses; before any work is done.
        ConversionError: the converter refuses an operation.
        ExportMismatch: the file computes something else than the model; nothing is written.
        MissingPackage: LiteRT is not installed.

    Example:
        >>> import keras, tempfile, pathlib, keras_taylor as kt
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
        >>> folder = pathlib.Path(tempfile.mkdtemp())
        >>> kt.export_tflite(model, folder / "model.tflite", quantizer=kt.Float16()).path.name
        'model.tflite'
        >>> kt.litert.read_note(folder / "model.tflite")["quantizer"]
        'float16'
    """
    path = check_writable(path)
    if plan is not None:
        check_plan(plan)
    if not isinstance(model, TFLiteFile):
        model = quantize(model, quantizer, batch_size=batch_size, seed=seed, verbose=verbose)
    elif quantizer is not None or batch_size is not None:
        name, given = ("quantizer", quantizer) if quantizer is not None else ("batch_size", batch_size)
        raise BadInput(f"{name} must be left out for a model that is quantized already. Received: {shown(given)}.")
    return model.save(path, plan=plan)
