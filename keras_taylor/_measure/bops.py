"""Bit operations: the one axis on which pruning and precision add up."""

from __future__ import annotations

import math
from typing import Any

from keras_taylor._quantize.quantizers import Float32, Quantizer, quantizer_for
from keras_taylor._trace.graph import ChannelGraph, trace

INPUT_BITS = 8
"""Images come in 8 bits, whatever a net computes in."""


def bops(model: Any, quantizer: str | Quantizer | None = None) -> int:
    """Bit operations per example: the sum over layers of MACs x weight bits x activation bits.

    A layer that reads the model's inputs, with nothing but padding, rescaling and the like in between, reads 8 bits.

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
    graph = model if isinstance(model, ChannelGraph) else trace(model)
    precision = quantizer_for(quantizer)
    first = _readers_of_inputs(graph)
    total = 0.0
    for (layer, macs), size in zip(graph.cost.kernels(), _sizes(graph), strict=True):
        bits, weight_bits = precision.activation_bits, precision.weight_bits
        if size < precision.least_elements:
            bits = weight_bits = Float32.weight_bits
        if layer in first:
            first.remove(layer)  # a second kernel of the same layer reads what the first one makes
            bits = INPUT_BITS
        total += macs * weight_bits * bits
    return round(total)


def _sizes(graph: ChannelGraph) -> list[int]:
    """The number of elements of every kernel, in the order of the calls."""
    return [
        math.prod(getattr(step.call.operation, name).shape)
        for step in graph.steps
        for name in step.rule.weight_axes(step.call.operation)
        if name in step.rule.kernels
    ]


def _readers_of_inputs(graph: ChannelGraph) -> set[str]:
    """Names of the calls with a kernel that no other kernel comes before."""
    raw = {tensor.index for tensor in graph.program.inputs}
    found = set()
    for step in graph.steps:
        if not all(tensor.index in raw for tensor in step.call.inputs):
            continue
        if step.rule.kernels:
            found.add(step.call.name)
        else:
            raw.update(tensor.index for tensor in step.call.outputs)
    return found
