"""Bit operations: the one axis on which pruning and precision add up."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

from keras_taylor._trace.graph import ChannelGraph, as_graph
from keras_taylor.litert._flatbuffer import File
from keras_taylor.litert._operations import products
from keras_taylor.quantizers import Quantizer, quantizer_for

INPUT_BITS = 8
"""Images come in 8 bits, whatever a net computes in."""
FLOAT_BITS = 32
"""Of kernels that no quantizer knows."""


def bops(model: Any, quantizer: str | Quantizer | None = None) -> int:
    """Bit operations per example: the sum over layers of MACs x weight bits x activation bits.

    This is what the precision promises, before there is a file; `kt.measure` counts what the operations of a file compute.

    A layer that reads the model's inputs, with nothing but padding, rescaling and the like in between, reads 8 bits. Kernels
    that no rule names (see `kt.trace`) count 32 x 32 bits.

    Args:
        model: a model, or what `kt.trace` made of it. A pruned model counts what is left on both sides of each kernel.
        quantizer: the precision; None is float32: 32 x 32 bits.

    Returns:
        The number of bit operations; divided by `kt.bops(original)` it is the share that pruning and precision leave.

    Raises:
        UnsupportedModel: see `kt.trace`.

    Example:
        >>> import keras, keras_taylor as kt
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3), keras.layers.Dense(2)])
        >>> kt.bops(model, kt.Float16()) == 4 * 3 * 16 * 8 + 3 * 2 * 16 * 32
        True

    References:
        van Baalen et al. 2020, "Bayesian Bits: Unifying Quantization and Pruning", section 2 and its published code.
    """
    graph = as_graph(model)
    precision = quantizer_for(quantizer)
    first, elements = _readers_of_inputs(graph), _elements(graph)
    total, seen = 0.0, Counter[str]()
    for layer, macs in graph.cost.kernels():
        number = seen[layer]  # of the kernels of this layer
        seen[layer] += 1
        if number >= len(elements[layer]):  # no rule names this kernel, so no quantizer knows it: it stays in floating point
            total += macs * FLOAT_BITS * FLOAT_BITS
            continue
        weight_bits, activation_bits = precision.bits(elements[layer][number])
        reads_inputs = layer in first and number == 0  # a second kernel of a layer reads what its first one makes
        total += macs * weight_bits * (INPUT_BITS if reads_inputs else activation_bits)
    return round(total)


def file_bops(file: File, macs: float = 0) -> int:
    """Bit operations per example of a `.tflite` file: those that its operations compute, in the bits that they compute in.

    A convolution in float32 counts 32 x 32 bits per MAC, whatever the precision promised. As in `bops`, what reads the file's
    inputs reads 8 bits.

    Args:
        file: a `.tflite` file.
        macs: of the model: those that no operation of the file accounts for (loops, operations that LiteRT has not) count
            32 x 32 bits.
    """
    found = products(file)
    total = sum(one.macs * one.weight_bits * (INPUT_BITS if one.reads_inputs else one.activation_bits) for one in found)
    left = max(macs - sum(one.macs for one in found), 0)
    return round(total + left * FLOAT_BITS * FLOAT_BITS)


def _elements(graph: ChannelGraph) -> dict[str, list[int]]:
    """The number of elements of each kernel, by the name of the call."""
    return {
        step.call.name: [
            math.prod(getattr(step.call.operation, name).shape)
            for name in step.rule.weight_axes(step.call.operation)
            if name in step.rule.kernels
        ]
        for step in graph.steps
    }


def _readers_of_inputs(graph: ChannelGraph) -> set[str]:
    """Names of the calls with a kernel that no other kernel comes before."""
    raw = {tensor.index for tensor in graph.program.inputs}
    found = set()
    for step in graph.steps:
        if not all(tensor.index in raw for tensor in step.call.inputs):
            continue
        if step.rule.kernels:
            found.add(step.call.name)
        elif step.call.name not in graph.cost.hidden and step.call.name not in graph.uncounted:
            raw.update(tensor.index for tensor in step.call.outputs)
    return found
