"""What a rule is.

A rule says what one class of operation does to channels. Most rules are a declaration: they name each axis of each weight
after what it follows (`"in"`, `"out"` or anything else for an axis that no channel runs along), and slicing, cost and the
contract test come from that.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from keras_taylor._keras.program import Call, Tensor
from keras_taylor.rules._activation import ClipRange, activation_range, is_piecewise_linear
from keras_taylor.rules._locks import Lock, LockReason
from keras_taylor.rules._tf_keras_form import TFKerasForm

Ids = NDArray[np.int64]
Keep = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Labels:
    """The labels of one tensor: `ids[i]` is the label of position `i` along `axis` (batch included in the count).

    A tensor whose positions carry no channel has `axis=None` and no ids.
    """

    axis: int | None
    ids: Ids

    def kept(self, keep: Keep) -> NDArray[np.intp]:
        """The positions along `axis` that `keep` (a boolean per label) leaves."""
        return np.flatnonzero(keep[self.ids])


@dataclass(frozen=True, eq=False)
class Trace:
    """What a rule found out about one call.

    Attributes:
        outputs: labels of each output tensor.
        axes: the labels that each named weight axis follows.
        consumes: whether the kernel contracts over the labels of the first input: a gate belongs there.
    """

    outputs: tuple[Labels, ...]
    axes: Mapping[str, Ids] = field(default_factory=dict)
    consumes: bool = False


@dataclass(frozen=True, eq=False)
class Step:
    """A call with its rule and what the rule found.

    Attributes:
        call: the call.
        rule: the rule that serves its operation.
        inputs: labels of each input tensor.
        outputs: labels of each output tensor.
        axes: the labels that each named weight axis follows; none where the rule refused the call.
        consumes: whether the kernel contracts over the labels of the first input.
    """

    call: Call
    rule: LayerRule
    inputs: tuple[Labels, ...]
    outputs: tuple[Labels, ...]
    axes: Mapping[str, Ids]
    consumes: bool


@dataclass(frozen=True)
class Remake:
    """How to make one call again: changes of the config, and of positional or named static arguments."""

    config: Mapping[str, Any] = field(default_factory=dict)
    arguments: Mapping[int | str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Linear:
    """An operation as a matrix product: each output position is `rows @ matrix + bias`.

    Attributes:
        kernel: name of the weight.
        groups: number of groups that see inputs of their own.
        window: a layer that takes `(1, spatial..., 1)` and whose output channel `t` is the input at tap `t` of the window;
            None where an output position sees one input position.
        to_matrix: the kernel as an array of shape `(groups, taps * inputs per group, outputs per group)`.
        from_matrix: the inverse; takes the kernel whose shape it must have, and the matrix.
        mix: rows of taps, shape `(rows, taps, inputs)`, to what the kernel contracts over, shape `(rows, 1, inputs)`.
    """

    kernel: str
    groups: int
    window: Any
    to_matrix: Callable[[NDArray[Any]], NDArray[Any]]
    from_matrix: Callable[[NDArray[Any], NDArray[Any]], NDArray[Any]]
    mix: Callable[[NDArray[Any]], NDArray[Any]] | None = None


@dataclass(frozen=True, eq=False)
class BatchStatistics:
    """A normalisation with stored statistics: `(x - mean) / sqrt(variance + epsilon) * gamma + beta` in inference.

    Attributes:
        mean: the variable that holds the mean of each channel, shape `(channels,)`.
        variance: the variable that holds the variance of each channel.
        epsilon: what is added to the variance.
        gamma: the variable that multiplies, or None.
        beta: the variable that is added, or None.
        axis: the axis that the channels run along.
    """

    mean: Any
    variance: Any
    epsilon: float
    gamma: Any
    beta: Any
    axis: int


class Labeller:
    """Mints labels, and collects ties and locks while a graph is traced."""

    def __init__(self) -> None:
        self.count = 0
        self.ties: list[tuple[Ids, Ids]] = []
        self.locks: list[tuple[Ids, Lock]] = []
        self.births: list[tuple[Ids, Call]] = []
        self._minted: dict[tuple[int, int], Ids] = {}
        self._labels: dict[int, Labels] = {}

    def __getitem__(self, tensor: Tensor) -> Labels:
        return self._labels[tensor.index]

    def __setitem__(self, tensor: Tensor, labels: Labels) -> None:
        self._labels[tensor.index] = labels

    def fresh(self, count: int) -> Ids:
        """`count` labels that belong to no producer."""
        self.count += count
        return np.arange(self.count - count, self.count, dtype=np.int64)

    def mint(self, call: Call, count: int, slot: int = 0) -> Ids:
        """The labels that `call` gives birth to: `count` new ones, or those of the first call of the same operation."""
        key = (id(call.operation), slot)
        if key not in self._minted:
            self._minted[key] = self.fresh(count)
            self.births.append((self._minted[key], call))
        return self._minted[key]

    def tie(self, a: Ids, b: Ids) -> None:
        """Channels `a[i]` and `b[i]` live or die together."""
        a, b = np.broadcast_arrays(a, b)
        if not np.array_equal(a, b):
            self.ties.append((a, b))

    def lock(self, ids: Ids, detail: str, reason: LockReason = LockReason.OTHER, call: Call | None = None) -> None:
        """The channels `ids` may not be removed.

        Args:
            ids: labels of the channels.
            detail: why, for people to read.
            reason: the kind of reason, to group by.
            call: the call that `detail` speaks of; it is named in front.
        """
        if len(ids):
            about = f"{call.name} ({type(call.operation).__name__}) " if call else ""
            self.locks.append((ids, Lock(about + detail, reason)))

    def unlabelled(self) -> Labels:
        """The labels of a tensor without channels."""
        return Labels(None, np.empty(0, np.int64))

    def refuse(self, call: Call, detail: str, reason: LockReason = LockReason.OTHER) -> Trace:
        """Lock all that goes in and comes out of `call`: what cannot be followed stays as it is.

        Args:
            call: it is named in front of the detail.
            detail: why, for people to read: "mixes the channels".
            reason: the kind of reason, to group by.

        Returns:
            What `trace` of a rule may return for this call.
        """
        for tensor in call.inputs:
            self.lock(self[tensor].ids, detail, reason, call)
        outputs = []
        for slot, tensor in enumerate(call.outputs):
            if len(tensor.shape) < 2 or tensor.shape[-1] is None:
                outputs.append(self.unlabelled())
                continue
            source = self[call.inputs[0]] if call.inputs else self.unlabelled()
            unchanged = source.axis == len(tensor.shape) - 1 and len(source.ids) == tensor.shape[-1]
            ids = source.ids if unchanged else self.mint(call, tensor.shape[-1], slot)
            self.lock(ids, detail, reason, call)
            outputs.append(Labels(len(tensor.shape) - 1, ids))
        return Trace(tuple(outputs))

    def spread(self, tensor: Tensor) -> NDArray[np.int64]:
        """The label of every position of `tensor`, with a batch of two; an unknown length counts as two."""
        labels = self[tensor]
        dims = [2, *(2 if d is None else d for d in tensor.shape[1:])]
        if labels.axis is None:
            constant = self.fresh(1)
            self.lock(constant, "no channel runs along it", LockReason.NOT_FOLLOWED)
            return np.broadcast_to(constant.reshape([1] * len(dims)), dims)
        shape = [1] * len(dims)
        shape[labels.axis] = len(labels.ids)
        return np.broadcast_to(labels.ids.reshape(shape), dims)

    def gather(self, array: NDArray[np.int64], name: str) -> Labels:
        """The inverse of `spread`: labels that vary along one axis; where they vary along more, slices are tied.

        Tying makes every possible removal rectangular, so a static shape can be computed again from what is kept.
        """
        varying = [a for a in range(array.ndim) if not (array == array.take([0], axis=a)).all()]
        if not varying and array.ndim > 1 and array.shape[-1] == 1:
            return Labels(array.ndim - 1, array.reshape(-1)[:1])
        if not varying or 0 in varying:
            text = f"{name} takes a single channel out, or moves channels into the batch axis"
            self.lock(np.unique(array), text, LockReason.PICKED)
            return self.unlabelled()
        axis = varying[-1]
        slices = np.moveaxis(array, axis, 0).reshape(array.shape[axis], -1)
        if len(varying) > 1:
            self.tie(slices, slices[:, :1])
        return Labels(axis, slices[:, 0].copy())


class LayerRule:
    """What one class of operation does to channels. Stateless: one registered instance serves every call.

    What a rule does not declare is taken to be the worst: an operation is not the identity, not a sum, clips nothing and
    normalises nothing, and nothing is linear.

    Attributes:
        weights: for each weight attribute of the layer, one word per axis: `"in"` and `"out"` (or another name that `trace`
            returns in `Trace.axes`) for axes that follow labels, anything else for axes that do not.
        kernels: the weights that do one multiply-accumulate per element and position.
        config: config entries that count the channels of an axis, for example `{"filters": "out"}`.
        scale: the weight that multiplies each channel of a normalisation.
        linear_pieces: whether outputs are, but for an `activation`, piecewise linear in the inputs, in inference.
        identity_in_inference: whether the operation does something in training only, as dropout and noise do.
        adds_inputs: whether the output is the plain sum of the inputs.
        tf_keras_scale: where the outputs of an operation without weights get their 8-bit scale from, see `TFKerasForm`.

    Example:
        >>> import keras, keras_taylor as kt
        >>> @keras.saving.register_keras_serializable("mine")
        ... class Scale(keras.layers.Layer):
        ...     def build(self, shape):
        ...         self.scale = self.add_weight(shape=shape[-1:], initializer="ones", name="scale")
        ...     def call(self, x):
        ...         return x * self.scale
        >>> @kt.register_rule(Scale)
        ... class ScaleRule(kt.rules.PassThrough):
        ...     weights = {"scale": "out"}
        ...     def examples(self):
        ...         return [keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(6, 3), Scale(),
        ...                                   keras.layers.Conv2D(4, 1)])]
        >>> kt.testing.check_rule(Scale)
    """

    weights: ClassVar[Mapping[str, str]] = {}
    kernels: ClassVar[Sequence[str]] = ()
    config: ClassVar[Mapping[str, str]] = {}
    scale: ClassVar[str] = ""
    linear_pieces: ClassVar[bool] = False
    identity_in_inference: ClassVar[bool] = False
    adds_inputs: ClassVar[bool] = False
    tf_keras_scale: ClassVar[str] = "own"

    def trace(self, call: Call, labels: Labeller) -> Trace:
        """Follow the labels through one call."""
        raise TypeError(f"{type(self).__name__} must define trace(call, labels), or derive from PassThrough.")

    def weight_axes(self, operation: Any) -> Mapping[str, str]:
        """`weights`, for one operation; override where the meaning of an axis depends on the configuration."""
        return {name: axes for name, axes in self.weights.items() if getattr(operation, name, None) is not None}

    def positions(self, call: Call) -> int:
        """How often each element of a kernel is used per example: the number of output positions."""
        return math.prod(d or 1 for d in call.outputs[0].shape[1:-1])

    def moves_rows(self, call: Call) -> bool:
        """Whether a call may put out another number of rows than it is given examples: all that touches axis 0."""
        axis, rank = getattr(call.operation, "axis", None), max(len(call.inputs[0].shape), 1)
        return any(isinstance(a, int) and a % rank == 0 for a in (axis if isinstance(axis, (list, tuple)) else [axis]))

    def remake(self, step: Step, keep: Keep) -> Remake:
        """How to call the operation again with the channels that `keep` (a boolean per label) leaves."""
        return Remake({entry: int(keep[step.axes[axis]].sum()) for entry, axis in self.config.items() if axis in step.axes})

    def piecewise_linear(self, call: Call) -> bool:
        """Whether the outputs are piecewise linear in the inputs, in inference: ReLU is, GELU and products are not."""
        pieces = self.linear_pieces or self.identity_in_inference
        return pieces and is_piecewise_linear(getattr(call.operation, "activation", None))

    def clip_range(self, operation: Any) -> ClipRange | None:
        """`(low, high)` for an operation that is nothing but `clip(x, low, high)`, as ReLU is with `(0, inf)`; or else None."""
        return None

    def activation_range(self, operation: Any) -> ClipRange | None:
        """The same of a layer's own `activation`: `(-inf, inf)` for a layer that has none."""
        return activation_range(getattr(operation, "activation", None))

    def batch_statistics(self, operation: Any) -> BatchStatistics | None:
        """The stored statistics of a normalisation that is an affine map of each channel in inference; or else None."""
        return None

    def inherit(self, operation: Any, copy: Any) -> None:
        """Tell the rebuilt copy of an operation what its config does not say."""

    def linear(self, operation: Any) -> Linear | None:
        """How the outputs, before the activation, depend on the inputs; None when repair cannot refit the operation."""
        return None

    def tf_keras_form(self, operation: Any) -> Sequence[TFKerasForm] | None:
        """The operation as layers of tf_keras, one after the other; None when there are none.

        Without weights, the operation itself runs.
        """
        return None if getattr(operation, "weights", ()) else (TFKerasForm(scale=self.tf_keras_scale),)

    def examples(self) -> Sequence[Any]:
        """Tiny models that contain the operation, for `kt.testing.check_rule`."""
        return []


class PassThrough(LayerRule):
    """Channels come out as they go in: each one depends on itself alone (elementwise, pooling, padding, dropout).

    A weight axis named `"out"` runs along the channels.
    """

    def trace(self, call: Call, labels: Labeller) -> Trace:
        """Pass the labels of the only input to the only output."""
        if len(call.inputs) != 1 or len(call.outputs) != 1:
            return labels.refuse(call, "has more than one input or output tensor", LockReason.NOT_FOLLOWED)
        given, shape = labels[call.inputs[0]], call.outputs[0].shape
        if given.axis is None:
            return Trace((given,))
        if given.axis >= len(shape) or shape[given.axis] != len(given.ids):
            return labels.refuse(call, "changes the axis that the channels run along", LockReason.OTHER_AXIS)
        return Trace((given,), {"out": given.ids})
