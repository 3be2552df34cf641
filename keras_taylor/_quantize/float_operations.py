"""What a `.tflite` file computes in float."""

from __future__ import annotations

from collections import Counter

from tensorflow.lite.python import schema_py_generated as schema
from tensorflow.lite.tools import flatbuffer_utils

_BORDERS = {"QUANTIZE", "DEQUANTIZE"}


def float_operations(content: bytes) -> dict[str, int]:
    """How many operations of each kind read or give float32; those at the border to integers are left out."""
    file = flatbuffer_utils.convert_bytearray_to_object(bytearray(content))
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
