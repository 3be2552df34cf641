"""What stands in a `.tflite` file, read without running it: the operations, and the note of `kt.export_tflite`."""

from __future__ import annotations

import json
import struct
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, TypeAlias, runtime_checkable

from keras_taylor._output.optional import optional
from keras_taylor.errors import BadInput, shown

_NOTE = b"keras_taylor"
_BORDERS = {"QUANTIZE", "DEQUANTIZE"}
_BOUNDED = {"SOFTMAX", "LOGISTIC", "TANH", "L2_NORMALIZATION"}
"""Operations whose integer outputs have the scale that LiteRT prescribes, whatever the data are."""
_MOVES = {*_BORDERS, "RESHAPE", "SQUEEZE", "EXPAND_DIMS", "TRANSPOSE", "CONCATENATION", "SLICE", "STRIDED_SLICE", "GATHER"}
"""Operations that leave values as they are."""


@runtime_checkable
class WithContent(Protocol):
    """What `kt.quantize` and `kt.export_tflite` return."""

    @property
    def content(self) -> bytes:
        """The bytes of a file."""


File: TypeAlias = bytes | str | Path | WithContent


def read_note(path: str | Path) -> dict[str, Any]:
    """What `kt.export_tflite` noted in a file: model, quantizer, versions, and the hash of the plan, if one was given.

    Raises:
        BadInput: the file holds no such note.

    Example:
        >>> import keras, tempfile, pathlib, keras_taylor as kt
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)], name="tiny")
        >>> file = kt.export_tflite(model, pathlib.Path(tempfile.mkdtemp()) / "model.tflite")
        >>> kt.litert.read_note(file.path)["model"]
        'tiny'
    """
    content = file_bytes(path)
    try:
        note = note_in(content)
    except (struct.error, IndexError, TypeError):
        raise BadInput(f"The file must be a .tflite file. Received: {str(path)!r}.") from None
    if note is None:
        raise BadInput(f"The file must be one that kt.export_tflite wrote. Received: {str(path)!r}, which has no note of it.")
    return note


def note_in(content: bytes) -> dict[str, Any] | None:
    """The note in a file; None where there is none."""
    file = _parsed(content)
    for entry in file.metadata or []:
        if entry.name == _NOTE:
            return dict(json.loads(bytes(file.buffers[entry.buffer].data)))
    return None


def with_note(content: bytes, note: Mapping[str, Any]) -> bytes:
    """The file with this note, in the place of the one that it has."""
    file, data = _parsed(content), list(json.dumps(note).encode())
    for entry in file.metadata or []:
        if entry.name == _NOTE:
            file.buffers[entry.buffer].data = data
            break
    else:
        schema = _schema()
        buffer, entry = schema.BufferT(), schema.MetadataT()
        buffer.data, entry.name, entry.buffer = data, _NOTE, len(file.buffers)
        file.buffers.append(buffer)
        file.metadata = [*(file.metadata or []), entry]
    return bytes(_utilities().convert_object_to_bytearray(file))


def float_operations(content: bytes) -> dict[str, int]:
    """How many operations of each kind read or give float32; those at the border to integers are left out."""
    schema, file = _schema(), _parsed(content)
    names = {value: name for name, value in vars(schema.BuiltinOperator).items() if isinstance(value, int)}
    found: Counter[str] = Counter()
    for graph in file.subgraphs:
        for operation in graph.operators:
            code = file.operatorCodes[operation.opcodeIndex]
            name = names[max(code.builtinCode, code.deprecatedBuiltinCode)]
            tensors = [graph.tensors[i] for i in (*operation.inputs, *operation.outputs) if i >= 0]
            if name not in _BORDERS and any(tensor.type == schema.TensorType.FLOAT32 for tensor in tensors):
                found[name] += 1
    return dict(found)


def bounded_steps(content: bytes) -> dict[int, float]:
    """For each output of the file, by the number of its tensor: the distance between two of its values.

    0 unless all of it comes from functions whose scale LiteRT prescribes, and in integers.
    """
    file = _parsed(content)
    graph = file.subgraphs[0]
    makers = {int(tensor): operation for operation in graph.operators for tensor in operation.outputs}

    def step(tensor: int) -> float:
        if tensor not in makers:
            return 0.0
        name = _operation_name(file, makers[tensor])
        if name in _BOUNDED:
            return _scale(graph.tensors[tensor])
        steps = [step(int(one)) for one in makers[tensor].inputs if int(one) in makers] if name in _MOVES else []
        return max(steps) if steps and all(steps) else 0.0

    return {int(tensor): step(int(tensor)) for tensor in graph.outputs}


def input_steps(content: bytes) -> dict[int, float]:
    """For each input of the file, by the number of its tensor: the distance between two of its values; 0 for floats."""
    file = _parsed(content)
    graph = file.subgraphs[0]
    steps = {}
    for tensor in map(int, graph.inputs):
        readers = [operation for operation in graph.operators if tensor in operation.inputs]
        first = [_scale(graph.tensors[one.outputs[0]]) for one in readers if _operation_name(file, one) == "QUANTIZE"]
        steps[tensor] = _scale(graph.tensors[tensor]) or (max(first) if len(first) == len(readers) and first else 0.0)
    return steps


def _scale(tensor: Any) -> float:
    """Of a tensor with one scale; 0 for others."""
    scale = None if tensor.quantization is None else tensor.quantization.scale
    return float(scale[0]) if scale is not None and len(scale) == 1 else 0.0


def _operation_name(file: Any, operation: Any) -> str:
    code = file.operatorCodes[operation.opcodeIndex]
    number = max(code.builtinCode, code.deprecatedBuiltinCode)
    return next(name for name, value in vars(_schema().BuiltinOperator).items() if value == number)


def file_bytes(file: File) -> bytes:
    """The content of a `.tflite` file, given itself, its path, or what `kt.quantize` returned.

    Raises:
        BadInput: there is no such file, or it is no `.tflite` file.
    """
    if isinstance(file, WithContent):
        file = file.content
    if not isinstance(file, bytes):
        try:
            file = Path(file).read_bytes()
        except (OSError, TypeError) as error:
            raise BadInput(f"file must be a .tflite file: its path or its bytes. Received: {shown(file)} ({error}).") from None
    if file[4:8] != b"TFL3":
        raise BadInput(f"file must be a .tflite file. Received: {len(file):,} bytes that do not begin like one.")
    return file


def _parsed(content: bytes) -> Any:
    return _utilities().convert_bytearray_to_object(bytearray(content))


def _utilities() -> Any:
    return optional("ai_edge_litert.tools.flatbuffer_utils", "litert")


def _schema() -> Any:
    return optional("ai_edge_litert.schema_py_generated", "litert")
