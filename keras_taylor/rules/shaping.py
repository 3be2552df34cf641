"""Operations that only move positions: the very operation is run on the array of labels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from keras_taylor._keras.operations import operation, operations
from keras_taylor._keras.program import Call, Tensor
from keras_taylor.rules._base import Keep, Labeller, Labels, LayerRule, Remake, Step, Trace
from keras_taylor.rules._locks import LockReason
from keras_taylor.rules._registry import register_rule


def _run(call: Call, arrays: Sequence[NDArray[np.int64]]) -> list[NDArray[np.int64]]:
    values = {tensor.index: tf.constant(array) for tensor, array in zip(call.inputs, arrays, strict=True)}
    args, kwargs = call.fill(values)
    kwargs.pop("training", None)
    return [np.asarray(result) for result in keras.tree.flatten(call.operation.call(*args, **kwargs))]


def _elements(tensor: Tensor) -> int | None:
    """How many there are in an example; None where that is not known."""
    lengths = tensor.shape[1:]
    return None if None in lengths else math.prod(d or 0 for d in lengths)


class Shaping(LayerRule):
    """Base of the shape rules: the operation itself is run on the labels, and what comes out tells where they went."""

    linear_pieces = True
    tf_keras_scale = "input"

    def trace(self, call: Call, labels: Labeller) -> Trace:
        try:
            results = _run(call, [labels.spread(tensor) for tensor in call.inputs])
        except (tf.errors.OpError, ValueError, TypeError) as error:
            text = f"could not be run on labels: {str(error).splitlines()[0]}"
            return labels.refuse(call, text, LockReason.NOT_FOLLOWED)
        return self.finish(call, labels, results)

    def moves_rows(self, call: Call) -> bool:
        if super().moves_rows(call):
            return True
        if isinstance(call.operation, keras.Layer) or getattr(call.operation, "axis", None) is not None:
            return False
        before, after = _elements(call.inputs[0]), _elements(call.outputs[0])
        return before is None or before != after

    def finish(self, call: Call, labels: Labeller, results: Sequence[NDArray[np.int64]]) -> Trace:
        """Labels of the outputs from the arrays that the operation made."""
        outputs = tuple(labels.gather(result, call.name) for result in results)
        for tensor, found in zip(call.outputs, outputs, strict=True):
            if found.axis is not None and tensor.shape[found.axis] != len(found.ids):
                text = "depends on a length that is not known before the model runs"
                return labels.refuse(call, text, LockReason.UNKNOWN_LENGTH)
        return Trace(outputs)


@register_rule(
    keras.layers.Flatten,
    keras.layers.Permute,
    keras.layers.RepeatVector,
    *operations("Transpose Swapaxes Moveaxis Squeeze ExpandDims Tile Flip Stack"),
    *operations("DepthToSpace SpaceToDepth"),
)
class AxisMove(Shaping):
    """Moves, repeats and merges axes; its arguments do not mention the number of channels."""

    def examples(self) -> Sequence[Any]:
        x = inputs = keras.Input((4, 4, 3))
        x = keras.layers.Conv2D(8, 3, padding="same", activation="relu")(x)
        turned = keras.layers.Conv2D(5, 1)(keras.ops.transpose(keras.layers.Permute((2, 1, 3))(x), (0, 2, 1, 3)))
        nets = [keras.Model(inputs, keras.layers.Dense(4)(keras.layers.Flatten()(x))), keras.Model(inputs, turned)]
        if hasattr(keras.ops, "depth_to_space"):
            nets.append(keras.Model(inputs, keras.layers.Conv2D(5, 1)(keras.ops.depth_to_space(x, 2))))
        return nets


class _Reshaped(Shaping):
    """Reshape to a static target: the entry of the channel axis is computed again."""

    entry = "target_shape"
    leading = 1

    def remake(self, step: Step, keep: Keep) -> Remake:
        target = list(getattr(step.call.operation, self.entry))
        labels = step.outputs[0]
        if labels.axis is not None and target[labels.axis - self.leading] != -1:
            target[labels.axis - self.leading] = int(keep[labels.ids].sum())
        return Remake({self.entry: tuple(target)})


@register_rule(keras.layers.Reshape)
class ReshapeLayer(_Reshaped):
    """Reshapes to a shape without the batch axis; the length of the channel axis is computed again."""

    def examples(self) -> Sequence[Any]:
        x = inputs = keras.Input((4, 4, 3))
        x = keras.layers.Conv2D(8, 3, activation="relu")(x)
        squeezed = keras.layers.Reshape((1, 1, 8))(keras.layers.GlobalAveragePooling2D()(x))
        shuffled = keras.layers.Reshape((2, 2, 8))(keras.layers.Permute((1, 2, 4, 3))(keras.layers.Reshape((2, 2, 2, 4))(x)))
        grown = keras.layers.Reshape((2, 2, -1))(keras.layers.Dense(2 * 2 * 6, activation="relu")(keras.layers.Flatten()(x)))
        return [keras.Model(inputs, keras.layers.Conv2D(4, 1)(y)) for y in (x * squeezed, shuffled, grown)]


@register_rule(operation("Reshape"))
class ReshapeOperation(_Reshaped):
    """Reshapes to a shape with the batch axis; the length of the channel axis is computed again."""

    entry = "newshape"
    leading = 0

    def examples(self) -> Sequence[Any]:
        x = inputs = keras.Input((4, 4, 3))
        x = keras.layers.Conv2D(8, 3, activation="relu")(x)
        return [keras.Model(inputs, keras.layers.Conv1D(4, 1)(keras.ops.reshape(x, (-1, 4, 8))))]


@register_rule(operation("Pad"))
class PadOperation(LayerRule):
    """Pads; positions that it adds along the channels are channels of its own."""

    linear_pieces = True
    tf_keras_scale = "input"

    def trace(self, call: Call, labels: Labeller) -> Trace:
        given = labels[call.inputs[0]]
        if given.axis is None or len(call.inputs) > 1:
            return labels.refuse(call, "pads a tensor whose channels are not known", LockReason.NOT_FOLLOWED)
        before, after = _pads(call)[given.axis]
        if before + after and call.operation.mode != "constant":
            return labels.refuse(call, f"repeats channels in mode {call.operation.mode!r}", LockReason.PICKED)
        added = labels.mint(call, before + after)
        ids = np.concatenate([added[:before], given.ids, added[before:]])
        return Trace((Labels(given.axis, ids),))

    def remake(self, step: Step, keep: Keep) -> Remake:
        labels, pads = step.outputs[0], _pads(step.call)
        if labels.axis is None:
            return Remake()
        before, after = pads[labels.axis]
        ends = labels.ids[:before], labels.ids[len(labels.ids) - after :]
        pads[labels.axis] = (int(keep[ends[0]].sum()), int(keep[ends[1]].sum()))
        return Remake({"pad_width": tuple(pads)})

    def examples(self) -> Sequence[Any]:
        x = inputs = keras.Input((6, 6, 3))
        x = keras.layers.Conv2D(4, 3, padding="same", activation="relu")(x)
        y = keras.layers.Conv2D(8, 3, strides=2, padding="same")(x)
        shortcut = keras.ops.pad(x[:, ::2, ::2, :], ((0, 0), (0, 0), (0, 0), (2, 2)))
        return [keras.Model(inputs, keras.layers.Conv2D(4, 1)(keras.layers.ReLU()(y + shortcut)))]


def _pads(call: Call) -> list[tuple[int, int]]:
    pairs = np.broadcast_to(np.asarray(call.operation.pad_width), (len(call.inputs[0].shape), 2))
    return [(int(before), int(after)) for before, after in pairs]


@register_rule(operation("Split"))
class SplitOperation(Shaping):
    """Splits; along the channels, sections become the boundaries of what is kept."""

    def remake(self, step: Step, keep: Keep) -> Remake:
        given = step.inputs[0]
        if given.axis is None or step.call.operation.axis % len(step.call.inputs[0].shape) != given.axis:
            return Remake()
        # A part that holds one label throughout has no channel axis; its label is locked, so it keeps its length.
        sizes = [
            int(keep[part.ids].sum()) if part.axis == given.axis else tensor.shape[given.axis] or 0
            for part, tensor in zip(step.outputs, step.call.outputs, strict=True)
        ]
        return Remake({"indices_or_sections": tuple(int(end) for end in np.cumsum(sizes)[:-1])})

    def examples(self) -> Sequence[Any]:
        x = inputs = keras.Input((6, 6, 3))
        x = keras.layers.Conv2D(9, 3, activation="relu")(x)
        a, b, c = keras.ops.split(x, 3, axis=-1)
        d, e = keras.ops.split(x, [4], axis=-1)
        heads = [keras.layers.Conv2D(4, 1)(part) for part in (a, b * c, d, e)]
        return [keras.Model(inputs, heads)]


@register_rule(operation("GetItem"))
class GetItem(Shaping):
    """Slices `x[..., a:b]`: along the channels the bounds are computed again; a stride or an index locks what it takes."""

    def trace(self, call: Call, labels: Labeller) -> Trace:
        given = labels[call.inputs[0]]
        key = _key(call)
        if key is None or given.axis is None:
            return labels.refuse(call, "has a key that is not made of slices and integers", LockReason.NOT_FOLLOWED)
        taken = key[given.axis]
        if isinstance(taken, slice) and taken.step not in (None, 1):
            labels.lock(given.ids, "takes the channels with a stride", LockReason.PICKED, call)
        return super().trace(call, labels)

    def moves_rows(self, call: Call) -> bool:
        key = _given_key(call)
        first = key[0] if isinstance(key, (list, tuple)) and key else key
        return first is not Ellipsis and first != slice(None)

    def remake(self, step: Step, keep: Keep) -> Remake:
        given, key = step.inputs[0], _key(step.call)
        if given.axis is None or key is None:
            return Remake()
        taken = key[given.axis]
        if isinstance(taken, slice):
            if taken == slice(None):
                return Remake()
            chosen = range(len(given.ids))[taken]
            start = int(keep[given.ids[: chosen.start]].sum())
            taken = slice(start, start + int(keep[given.ids[list(chosen)]].sum())) if chosen.step == 1 else taken
        else:
            taken = int(keep[given.ids[: int(taken) % len(given.ids)]].sum())
        key[given.axis] = taken
        return Remake(arguments={"key" if "key" in step.call.kwargs else 1: tuple(key)})

    def examples(self) -> Sequence[Any]:
        x = inputs = keras.Input((6, 6, 3))
        x = keras.layers.Conv2D(8, 3, activation="relu")(x)
        left, right = keras.layers.Conv2D(4, 1)(x[..., :3]), keras.layers.Conv2D(4, 1)(x[:, 1:, :, -4:])
        locked = keras.Model(inputs, [keras.layers.Conv2D(4, 1)(x[..., ::2]), x[..., 2]])
        return [keras.Model(inputs, [left, right]), locked]


def _key(call: Call) -> list[Any] | None:
    """The key with one slice or integer per axis of the input, or None when it adds axes or is not static."""
    key = _given_key(call)
    key = list(key) if isinstance(key, (list, tuple)) else [key]
    if any(not isinstance(k, (slice, int, type(...))) for k in key):
        return None
    rank = len(call.inputs[0].shape)
    if Ellipsis in key:
        at = key.index(Ellipsis)
        key[at : at + 1] = [slice(None)] * (rank - len(key) + 1)
    return key + [slice(None)] * (rank - len(key))


def _given_key(call: Call) -> Any:
    return call.kwargs["key"] if "key" in call.kwargs else call.args[1]
