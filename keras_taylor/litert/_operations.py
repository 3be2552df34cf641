"""The operations of a `.tflite` file as LiteRT runs them: kinds, tensors, and what they multiply."""

from __future__ import annotations

import math
import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np

from keras_taylor._output.optional import optional
from keras_taylor.litert._flatbuffer import File, file_bytes

_COMPUTE_NOTHING = {"QUANTIZE", "DEQUANTIZE", "SHAPE"}
_FLOATS = {"FLOAT16": 16, "FLOAT32": 32, "FLOAT64": 64}
_INTEGERS = {"INT4": 4, "UINT4": 4, "INT2": 2, "INT8": 8, "UINT8": 8, "INT16": 16, "INT32": 32, "INT64": 64}


@dataclass(frozen=True)
class Tensor:
    """A tensor of a file.

    Attributes:
        index: its number.
        name: as the converter made it: the layers that it comes from are parts of it.
        kind: of its numbers, as LiteRT calls it.
        shape: in a run with the smallest batch that the file takes.
        constant: whether its values stand in the file.
    """

    index: int
    name: str
    kind: str
    shape: tuple[int, ...]
    constant: bool

    @property
    def size(self) -> int:
        """The number of its elements."""
        return math.prod(self.shape)

    @property
    def bits(self) -> int:
        """Of one number."""
        return (_FLOATS | _INTEGERS).get(self.kind, 32)


@dataclass(frozen=True)
class Operation:
    """One operation of a file; inputs that are left out are None."""

    kind: str
    inputs: tuple[Tensor | None, ...]
    outputs: tuple[Tensor, ...]

    @property
    def tensors(self) -> list[Tensor]:
        """All that it reads and gives."""
        return [tensor for tensor in (*self.inputs, *self.outputs) if tensor is not None]


@dataclass(frozen=True)
class Product:
    """Multiply-accumulates of one operation with one example.

    Attributes:
        macs: how many.
        weight_bits: of the numbers on one side; the weights, where there are some.
        activation_bits: of the numbers on the other side, as they are multiplied.
        reads_inputs: whether the activations are the file's inputs, with only padding, rescaling and the like in between.
    """

    macs: float
    weight_bits: int
    activation_bits: int
    reads_inputs: bool


def operations(file: File) -> tuple[list[Operation], list[Tensor]]:
    """The operations of the main graph in the order in which they run, and its inputs."""
    content = file_bytes(file)
    schema = optional("ai_edge_litert.schema_py_generated", "litert")
    parsed = optional("ai_edge_litert.tools.flatbuffer_utils", "litert").convert_bytearray_to_object(bytearray(content))
    kinds, types = (_names(one) for one in (schema.BuiltinOperator, schema.TensorType))
    graph, shapes = parsed.subgraphs[0], _shapes(content)
    tensors = [
        Tensor(
            index,
            one.name.decode(errors="replace") if isinstance(one.name, bytes) else str(one.name),
            types[one.type],
            shapes.get(index, tuple(one.shape if one.shape is not None else ())),
            parsed.buffers[one.buffer].data is not None,
        )
        for index, one in enumerate(graph.tensors)
    ]
    found = []
    for one in graph.operators:
        code = parsed.operatorCodes[one.opcodeIndex]
        inputs = tuple(tensors[i] if i >= 0 else None for i in one.inputs)
        kind = kinds[max(code.builtinCode, code.deprecatedBuiltinCode)]
        found.append(Operation(kind, inputs, tuple(tensors[i] for i in one.outputs)))
    return found, [tensors[i] for i in graph.inputs]


def products(file: File) -> list[Product]:
    """What each operation of a file multiplies: convolutions, dense layers, products of matrices, recurrent layers.

    Loops are left out: how often they run is not in the file.
    """
    listed, inputs = operations(file)
    batch = max(inputs[0].shape[0], 1) if inputs and inputs[0].shape else 1
    made = {tensor.index: one for one in listed for tensor in one.outputs}
    raw = {tensor.index for tensor in inputs}
    found = []
    for one in listed:
        sides = _SIDES.get(one.kind)
        read = [tensor for tensor in one.inputs if tensor is not None and not tensor.constant]
        if sides is None:
            if read and all(tensor.index in raw for tensor in read):
                raw.update(tensor.index for tensor in one.outputs)
            continue
        data, weights = (one.inputs[side] for side in sides)
        assert data is not None
        assert weights is not None
        weight_bits = _stored_bits(weights, made)
        # Where the weights alone are integers, LiteRT rounds the activations on the way.
        hybrid = data.kind in _FLOATS and weights.kind in _INTEGERS
        activation_bits = 8 if hybrid else data.bits
        found.append(Product(_macs(one, data, weights) / batch, weight_bits, activation_bits, data.index in raw))
    return found


def float_layers(file: File, names: Collection[str]) -> dict[str, list[str]]:
    """The operations that a file computes in float, by kind, with the layers that they come from, as far as the file says.

    Args:
        file: a `.tflite` file.
        names: of the layers.
    """
    found: dict[str, list[str]] = {}
    for one in operations(file)[0]:
        if one.kind in _COMPUTE_NOTHING or not any(tensor.kind in _FLOATS for tensor in one.tensors):
            continue
        parts = [part for tensor in one.outputs for part in re.split("[/;]", tensor.name)]
        # Keras numbers the scopes of a layer that is called again: `conv_1` is that of `conv`, if there is one.
        origins = [next((name for name in (re.sub(r"_\d+$", "", part), part) if name in names), None) for part in parts]
        known = found.setdefault(one.kind, [])
        known += dict.fromkeys(name for name in origins if name is not None and name not in known)
    return found


_SIDES = {
    "CONV_2D": (0, 1),
    "DEPTHWISE_CONV_2D": (0, 1),
    "FULLY_CONNECTED": (0, 1),
    "BATCH_MATMUL": (0, 1),
    "CONV_3D": (0, 1),
    "TRANSPOSE_CONV": (2, 1),
    "CONV_3D_TRANSPOSE": (2, 1),
    "UNIDIRECTIONAL_SEQUENCE_LSTM": (0, 2),
}
"""Which inputs of an operation are multiplied: activations, weights."""


def _macs(one: Operation, data: Tensor, weights: Tensor) -> float:
    out = one.outputs[0]
    if one.kind == "CONV_2D":  # out, height, width, in
        return out.size * math.prod(weights.shape[1:])
    if one.kind == "DEPTHWISE_CONV_2D":  # 1, height, width, out
        return out.size * math.prod(weights.shape[1:3])
    if one.kind == "CONV_3D":  # depth, height, width, in, out
        return out.size * math.prod(weights.shape[:4])
    if one.kind in ("TRANSPOSE_CONV", "CONV_3D_TRANSPOSE"):
        return data.size * weights.size / data.shape[-1]
    if one.kind == "FULLY_CONNECTED":  # out, in
        return data.size * weights.shape[0]
    if one.kind == "BATCH_MATMUL":
        return out.size * math.prod(data.shape[-2:]) / max(out.shape[-2], 1)
    matrices = sum(tensor.size for tensor in one.inputs[1:9] if tensor is not None)
    return data.size / data.shape[-1] * matrices


def _stored_bits(tensor: Tensor, made: dict[int, Operation]) -> int:
    """Bits of a weight; one that is stored in float16 has no more, though it is read as float32."""
    maker = made.get(tensor.index)
    if maker is not None and maker.kind == "DEQUANTIZE" and maker.inputs[0] is not None and maker.inputs[0].kind == "FLOAT16":
        return _FLOATS["FLOAT16"]
    return tensor.bits


def _names(constants: Any) -> dict[int, str]:
    return {value: name for name, value in vars(constants).items() if isinstance(value, int)}


def _shapes(content: bytes) -> dict[int, tuple[int, ...]]:
    """The shapes of all tensors in a run: those that depend on the batch are not in the file."""
    module = optional("ai_edge_litert.interpreter", "litert")
    interpreter = module.Interpreter(
        model_content=content,
        # Delegates would hide what happens inside of them.
        experimental_op_resolver_type=module.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        experimental_preserve_all_tensors=True,
    )
    for given in interpreter.get_input_details():
        interpreter.resize_tensor_input(given["index"], [1 if length == -1 else length for length in given["shape_signature"]])
    interpreter.allocate_tensors()
    for given in interpreter.get_input_details():
        interpreter.set_tensor(given["index"], np.zeros(given["shape"], given["dtype"]))
    interpreter.invoke()
    return {one["index"]: tuple(int(length) for length in one["shape"]) for one in interpreter.get_tensor_details()}
