"""The two methods that refit layers one after the other: their kernels, or their biases alone."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import psutil

from keras_taylor._repair.consumers import Consumer, consumers
from keras_taylor._repair.layer_fit import FitOptions
from keras_taylor._repair.least_squares import least_squares
from keras_taylor._repair.method import RepairMethod, Work
from keras_taylor._repair.normal_equations import NormalEquations
from keras_taylor._repair.stepwise_run import live_bytes
from keras_taylor.errors import BadInput, positive, warn, whole_number

_ROUNDS = 2


@dataclass(frozen=True)
class LeastSquares(RepairMethod):
    """`"lstsq"`: kernels and biases are refitted by least squares towards the original's outputs, in topological order.

    Args:
        ridge: pull towards the old kernel, relative to the variance of each of a layer's inputs.
        rows: sampled rows (examples times positions) per unknown of a layer, at least; 0 reads every position. More take
            longer and fit a little better: 120 brought a ResNet-20 .002 on average, and .004 at half its MACs.
        residual: fit towards the original's sum, not its branch, where a layer's outputs go into a residual sum.
        activation: fit towards what passes the ReLU that reads a layer: where the original is below zero, anything below
            zero will do.

    Raises:
        BadInput: a value that cannot be used.

    Example:
        >>> import keras_taylor as kt
        >>> kt.Recipe(repair=kt.repairs.LeastSquares(rows=120)).repair.ridge
        0.001

    References:
        He, Zhang and Sun 2017, "Channel pruning for accelerating very deep neural networks", section 3.2.
    """

    ridge: float = 1e-3
    rows: int = 30
    residual: bool = True
    activation: bool = True

    name: ClassVar[str] = "lstsq"

    def __post_init__(self) -> None:
        positive("ridge", self.ridge)
        object.__setattr__(self, "rows", whole_number("rows", self.rows, least=0))

    def apply(self, work: Work) -> int:
        rounds = _ROUNDS if self.activation else 0
        return _refit(work, FitOptions(self.ridge, self.rows, self.residual, rounds, work.seed, work.verbose))


@dataclass(frozen=True)
class Bias(RepairMethod):
    """`"bias"`: what removed channels contributed on average goes into the bias of the layer that read them.

    Where that layer has no bias, it goes into the BatchNormalization that follows.

    Args:
        rows: sampled rows (examples times positions) per unknown of a layer, at least; 0 reads every position.

    Raises:
        BadInput: a value that cannot be used.

    Example:
        >>> import keras_taylor as kt
        >>> kt.repairs.Bias().rows
        30
    """

    rows: int = 30

    name: ClassVar[str] = "bias"

    def __post_init__(self) -> None:
        object.__setattr__(self, "rows", whole_number("rows", self.rows, least=0))

    def apply(self, work: Work) -> int:
        return _refit(work, FitOptions(math.inf, self.rows, True, 0, work.seed, work.verbose))


def _refit(work: Work, options: FitOptions) -> int:
    found = consumers(work.graph, work.keep, work.small, work.frozen)
    if not found and consumers(work.graph, work.keep, work.small, frozen=True):
        warn("All layers to refit are frozen (trainable=False). Pass frozen=True to refit them.")
    _foresee_memory(found, work, options)
    return least_squares(work.graph, work.small, found, work.batches(), options)


def _foresee_memory(found: list[Consumer], work: Work, options: FitOptions) -> None:
    """Raise `BadInput` if the largest fit, all targets, and the activations between two layers do not fit into memory."""
    examples = len(work.inputs[0])
    fits, targets = {}, 0
    for one in found:
        groups, unknowns, outputs = one.linear_small.to_matrix(_kernel(one)).shape
        fits[one.name] = groups * NormalEquations.memory(unknowns, outputs)
        positions = math.prod(d or 1 for d in one.calls[0][0].outputs[0].shape[1:-1]) * len(one.calls)
        targets += 4 * groups * outputs * min(examples * positions, options.wanted(unknowns) + examples)
    largest = max(fits, key=lambda name: fits[name], default="")
    activations = live_bytes(work.small.program, examples)
    needed = fits.get(largest, 0) + targets + activations
    available = psutil.virtual_memory().available
    if needed > available:
        raise BadInput(
            f"Memory must suffice for repair. Received: {available:,} bytes available, {needed:,} needed: "
            f"{fits.get(largest, 0):,} for the fit of {largest!r}, {targets:,} for the targets of {len(found)} layers, "
            f"{activations:,} for the activations of {examples} examples. Use fewer examples or rows, or method='batchnorm'."
        )


def _kernel(consumer: Consumer) -> Any:
    return getattr(consumer.small, consumer.linear_small.kernel).numpy()
