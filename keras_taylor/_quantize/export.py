"""Export to TFLite: a checked file, with a note inside about what it was made of."""

from __future__ import annotations

import hashlib
import json
import platform
import struct
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tensorflow.lite.python import schema_py_generated as schema
from tensorflow.lite.tools import flatbuffer_utils

from keras_taylor._output.files import check_writable, write_atomically
from keras_taylor._plan.pruning_plan import PruningPlan
from keras_taylor._quantize.quantize import Quantized, quantize
from keras_taylor._quantize.quantizers import Quantizer
from keras_taylor._quantize.tflite import file_bytes
from keras_taylor.errors import BadInput

_NOTE = "keras_taylor"


@dataclass(frozen=True)
class Export:
    """An exported file.

    Attributes:
        path: where it is.
        bytes: its size.
        max_relative_error: largest difference between its outputs, run by LiteRT, and the Keras model's, relative to the
            largest magnitude of an output.
    """

    path: Path
    bytes: int
    max_relative_error: float


def export_tflite(
    model: Any,
    path: str | Path,
    quantizer: str | Quantizer | None = None,
    *,
    plan: PruningPlan | None = None,
    seed: int = 0,
) -> Export:
    """Write a model as a `.tflite` file, run the file with LiteRT, and compare it with the model.

    The file appears at `path` only after the check has passed. It takes one example at a time, or any batch
    size after `interpreter.resize_tensor_input`. `kt.read_note` reads what the file says about itself.

    Args:
        model: a built Functional or Sequential model, or what `kt.quantize` made of one.
        path: the file to write; its folder must exist.
        quantizer: see `kt.quantize`; None for float32.
        plan: what was pruned; its hash is noted in the file.
        seed: for the random inputs of the check.

    Returns:
        Path, size in bytes, and the error that was measured.

    Raises:
        BadInput: an unwritable path, an unknown quantizer, or what `kt.quantize` refuses; before any work is done.
        ConversionError: the converter refuses an operation.
        ExportMismatch: the file computes something else than the model; nothing is written.

    Example:
        >>> import keras, tempfile, pathlib, keras_taylor as kt
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
        >>> folder = pathlib.Path(tempfile.mkdtemp())
        >>> kt.export_tflite(model, folder / "model.tflite", quantizer=kt.Float16()).path.name
        'model.tflite'
        >>> kt.read_note(folder / "model.tflite")["quantizer"]
        'float16'
    """
    path = check_writable(path)
    made = model if isinstance(model, Quantized) else quantize(model, quantizer, seed=seed)
    if made is model and quantizer is not None:
        raise BadInput(f"quantizer must be left out for a model that is quantized already. Received: {quantizer!r}.")
    content = _with_note(made, plan)
    write_atomically(path, lambda part: Path(part).write_bytes(content))
    return Export(path, len(content), made.max_relative_error)


def read_note(path: str | Path) -> dict[str, Any]:
    """What `export_tflite` noted in a file: model, quantizer, versions, and the hash of the plan, if one was given.

    Raises:
        BadInput: the file holds no such note.

    Example:
        >>> import keras, tempfile, pathlib, keras_taylor as kt
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)], name="tiny")
        >>> kt.read_note(kt.export_tflite(model, pathlib.Path(tempfile.mkdtemp()) / "model.tflite").path)["model"]
        'tiny'
    """
    content = file_bytes(path)
    try:
        file = flatbuffer_utils.convert_bytearray_to_object(bytearray(content))
    except (struct.error, IndexError, TypeError):
        raise BadInput(f"The file must be a .tflite file. Received: {str(path)!r}.") from None
    for entry in file.metadata or []:
        if entry.name == _NOTE.encode():
            return dict(json.loads(bytes(file.buffers[entry.buffer].data)))
    raise BadInput(f"The file must be one that kt.export_tflite wrote. Received: {str(path)!r}, which has no note of it.")


def _with_note(made: Quantized, plan: PruningPlan | None) -> bytes:
    note = {
        "model": made.model.name,
        "quantizer": made.quantizer.name,
        "plan": None if plan is None else hashlib.sha256(plan.to_json().encode()).hexdigest(),
        "versions": {name: version(name) for name in ("keras", "keras-taylor", "tensorflow")}
        | {"python": platform.python_version()},
    }
    file = flatbuffer_utils.convert_bytearray_to_object(bytearray(made.content))
    buffer, entry = schema.BufferT(), schema.MetadataT()
    buffer.data = list(json.dumps(note).encode())
    entry.name, entry.buffer = _NOTE, len(file.buffers)
    file.buffers.append(buffer)
    file.metadata = [*(file.metadata or []), entry]
    return bytes(flatbuffer_utils.convert_object_to_bytearray(file))
