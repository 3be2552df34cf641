"""Multiply-accumulates of TensorFlow operations: what is counted where no rule follows the channels."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import tensorflow as tf

Shape = tuple[int, ...]

OPAQUE = frozenset(
    "EagerPyFunc PyFunc PyFuncStateless XlaCallModule XlaLaunch SymbolicGradient RemoteCall "
    "SparseTensorDenseMatMul SparseMatMul SparseMatrixMatMul SparseMatrixSparseMatMul TridiagonalMatMul "
    "FFT FFT2D FFT3D FFTND IFFT IFFT2D IFFT3D IFFTND RFFT RFFT2D RFFT3D RFFTND IRFFT IRFFT2D IRFFT3D IRFFTND "
    "BatchFFT BatchFFT2D BatchFFT3D BatchIFFT BatchIFFT2D BatchIFFT3D "
    "Cholesky CholeskyGrad Qr Svd Eig SelfAdjointEig SelfAdjointEigV2 Lu Schur MatrixInverse MatrixDeterminant "
    "LogMatrixDeterminant MatrixExponential MatrixLogarithm MatrixSquareRoot MatrixSolve MatrixSolveLs "
    "MatrixTriangularSolve BandedTriangularSolve TridiagonalSolve BlockLSTM BlockLSTMV2 LSTMBlockCell GRUBlockCell "
    "Conv2DBackpropFilter Conv3DBackpropFilterV2 DepthwiseConv2dNativeBackpropFilter QuantizedMatMul QuantizedConv2D "
    "UniformQuantizedDot UniformQuantizedDotHybrid UniformQuantizedConvolution UniformQuantizedConvolutionHybrid".split()
)
"""Operations that multiply an amount which cannot be read off their shapes, or which nobody reads off."""


class OpMacs:
    """Counts the operations of one graph, each of them once.

    The convention is that of published figures: products of matrices and convolutions count, padded positions included;
    products of single elements, sums and interpolation do not. A loop counts as often as it runs at most; of branches, the
    most costly one counts.
    """

    def __init__(self, graph: Any) -> None:
        self._graph = graph
        self._seen: set[str] = set()

    def new(self, ends: Iterable[Any]) -> tuple[int, Counter[str]]:
        """MACs of all operations that the tensors `ends` need and that were not counted yet.

        Args:
            ends: tensors of the graph; all lengths should be known.

        Returns:
            The multiply-accumulates, and the kinds of operations that cannot be counted.
        """
        total, unknown = 0, Counter[str]()
        left = [tensor.op for tensor in ends]
        while left:
            op = left.pop()
            if op.name not in self._seen:
                self._seen.add(op.name)
                total += self._of(op, unknown)
                left += [*(tensor.op for tensor in op.inputs), *op.control_inputs]
        return total, unknown

    def _of(self, op: Any, unknown: Counter[str]) -> int:
        if op.type in _KERNELS:
            try:
                return _KERNELS[op.type](op)
            except ValueError:
                unknown[f"{op.type} of lengths that depend on the values"] += 1
                return 0
        if op.type in OPAQUE:
            unknown[op.type] += 1
            return 0
        functions = {key: value.func.name for key, value in op.node_def.attr.items() if value.HasField("func")}
        if op.type in ("While", "StatelessWhile"):
            inner = sum(self._called(name, unknown) for name in functions.values())
            times = _constant(op.inputs[1])
            if inner and (times is None or times < 0):
                unknown["a loop that runs as often as the values say"] += 1
                return 0
            return inner * (times or 0)
        if op.type in ("If", "StatelessIf"):
            return max(self._called(name, unknown) for name in functions.values())
        if op.type in ("Case", "StatelessCase"):
            return max(self._called(one.name, unknown) for one in op.node_def.attr["branches"].list.func)
        return sum(self._called(name, unknown) for name in functions.values())

    def _called(self, name: str, unknown: Counter[str]) -> int:
        function = self._graph._get_function(name)
        if function is None:
            unknown[f"the function {name}"] += 1
            return 0
        outputs = [tensor for tensor in tf.nest.flatten(function.graph.outputs) if isinstance(tensor, tf.Tensor)]
        macs, inside = OpMacs(function.graph).new(outputs)
        unknown.update(inside)
        return macs


def _shape(tensor: Any) -> Shape:
    """The static shape; raises `ValueError` where a length is not known."""
    return tuple(tensor.shape.as_list()) if tensor.shape.is_fully_defined() else _refuse(f"{tensor.name} has no static shape")


def _refuse(text: str) -> Any:
    raise ValueError(text)


def _outputs(op: Any) -> int:
    """Elements that come out. Where a dilation was made of batches that are taken apart and joined again, those joined."""
    out = op.outputs[0]
    made, readers = math.prod(_shape(out)), out.consumers()
    while len(readers) == 1 and readers[0].type == "Squeeze":
        readers = readers[0].outputs[0].consumers()
    joined = readers[0].outputs[0] if len(readers) == 1 and readers[0].type == "BatchToSpaceND" else out
    return math.prod(joined.shape) if joined.shape.is_fully_defined() else made


def _matmul(op: Any) -> int:
    """Output positions times the length that is contracted, of plain and batched products."""
    flag = "transpose_a" if op.type == "MatMul" else "adj_x"
    a = _shape(op.inputs[0])
    return math.prod(_shape(op.outputs[0])) * a[-2 if op.get_attr(flag) else -1]


def _einsum(op: Any) -> int:
    """The product of all lengths, but for those that are summed in one factor before it meets the other."""
    left, right = op.get_attr("equation").decode().replace(" ", "").split("->")
    lengths: dict[str, int] = {}
    factors: list[set[str]] = []
    for term, tensor in zip(left.split(","), op.inputs, strict=True):
        shape = _shape(tensor)
        before, _, after = term.partition("...")
        named = [*before, *(f"...{i}" for i in range(len(shape) - len(before) - len(after), 0, -1)), *after]
        factors.append(set(named))
        for index, length in zip(named, shape, strict=True):
            lengths[index] = max(lengths.get(index, 1), length)
    uses = Counter(index for factor in factors for index in factor)
    met = [n for index, n in lengths.items() if uses[index] > 1 or index in right or index.startswith("...")]
    return math.prod(met) * (len(factors) - 1)


def _convolution(op: Any) -> int:
    """Every output position sees the whole kernel of its channel: `(k..., in per group, out)`."""
    *window, inputs, _ = _shape(op.inputs[1])
    return _outputs(op) * math.prod(window) * inputs


def _depthwise(op: Any) -> int:
    *window, _, _ = _shape(op.inputs[1])
    return _outputs(op) * math.prod(window)


def _transposed(op: Any) -> int:
    """The gradient of a convolution: every input position is spread over the whole kernel, `(k..., out, in)`."""
    *window, outputs, _ = _shape(op.inputs[1])
    return math.prod(_shape(op.inputs[2])) * math.prod(window) * outputs


def _transposed_depthwise(op: Any) -> int:
    *window, _, _ = _shape(op.inputs[1])
    return math.prod(_shape(op.inputs[2])) * math.prod(window)


def _recurrent(op: Any) -> int:
    """One layer of a recurrent net on a GPU: each gate has a kernel for the input and one for the state."""
    gates = {"lstm": 4, "gru": 3}.get(op.get_attr("rnn_mode").decode(), 1)
    layers, _, units = _shape(op.inputs[1])
    if layers != 1:
        _refuse("several layers, or both directions, in one operation")
    steps, rows, inputs = _shape(op.inputs[0])
    return steps * rows * gates * units * (inputs + units)


_KERNELS: dict[str, Callable[[Any], int]] = {
    "MatMul": _matmul,
    "BatchMatMul": _matmul,
    "BatchMatMulV2": _matmul,
    "BatchMatMulV3": _matmul,
    "Einsum": _einsum,
    "XlaEinsum": _einsum,
    "Conv2D": _convolution,
    "Conv3D": _convolution,
    "Conv": _convolution,
    "DepthwiseConv2dNative": _depthwise,
    "Conv2DBackpropInput": _transposed,
    "Conv2DBackpropInputV2": _transposed,
    "Conv3DBackpropInputV2": _transposed,
    "DepthwiseConv2dNativeBackpropInput": _transposed_depthwise,
    "CudnnRNN": _recurrent,
    "CudnnRNNV2": _recurrent,
    "CudnnRNNV3": _recurrent,
}


def _constant(tensor: Any) -> int | None:
    """The value of a scalar that does not depend on the inputs of the graph; None where it does."""
    value = tf.get_static_value(tensor)
    if value is None and tensor.op.type in ("Max", "Min", "Identity", "Cast", "Squeeze", "Reshape"):
        return _constant(tensor.op.inputs[0])
    return None if value is None or np.size(value) != 1 else int(np.reshape(value, ()))
