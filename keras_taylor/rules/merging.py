"""Operations that combine tensors position by position: equal positions are tied."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np

from keras_taylor._keras.operations import CustomScaleLayer, operation, operations
from keras_taylor._keras.program import Call
from keras_taylor.rules._base import Labeller, Labels, LayerRule, Trace
from keras_taylor.rules._locks import LockReason
from keras_taylor.rules._registry import register_rule
from keras_taylor.rules._tf_keras_form import TFKerasForm

_PIECEWISE_LINEAR = (
    keras.layers.Subtract,
    keras.layers.Average,
    keras.layers.Maximum,
    keras.layers.Minimum,
    CustomScaleLayer,
    *operations("Subtract Maximum Minimum"),
)
_OPERATIONS = (
    "Subtract Multiply Divide TrueDivide DivideNoNan FloorDivide Maximum Minimum Fmax Fmin Mod Power Where Arctan2 Equal "
    "NotEqual Greater GreaterEqual Less LessEqual LogicalAnd LogicalOr LogicalXor Hypot Logaddexp"
)


@register_rule(
    keras.layers.Subtract,
    keras.layers.Multiply,
    keras.layers.Average,
    keras.layers.Maximum,
    keras.layers.Minimum,
    CustomScaleLayer,
    *operations(_OPERATIONS),
)
class Merge(LayerRule):
    """Elementwise operations on several tensors, with broadcasting: equal positions along the channels are tied.

    A tensor of length one along that axis serves all channels, so its own label is locked. Tensors whose channels run along
    different axes of the result are locked.
    """

    def piecewise_linear(self, call: Call) -> bool:
        kind = type(call.operation)
        scaled = len(call.inputs) == 1 and (
            kind is operation("Multiply")
            or (kind in (operation("Divide"), operation("TrueDivide")) and call.args[0] is call.inputs[0])
        )
        return scaled or isinstance(call.operation, _PIECEWISE_LINEAR)

    def trace(self, call: Call, labels: Labeller) -> Trace:
        if call.static_arrays():
            return labels.refuse(call, "meets a constant array", LockReason.CONSTANT)
        shape = call.outputs[0].shape
        met: list[Labels] = []
        for tensor in call.inputs:
            given = labels[tensor]
            if given.axis is None:
                if len(tensor.shape) > 1:
                    return labels.refuse(call, "meets a tensor whose channels are not known", LockReason.NOT_FOLLOWED)
                continue
            axis = given.axis + len(shape) - len(tensor.shape)
            if len(given.ids) == 1 and shape[axis] != 1:
                labels.lock(given.ids, "broadcasts it over all channels", LockReason.BROADCAST, call)
            else:
                met.append(Labels(axis, given.ids))
        if not met or len({one.axis for one in met}) > 1:
            return labels.refuse(call, "meets tensors whose channels run along different axes", LockReason.OTHER_AXIS)
        for other in met[1:]:
            labels.tie(met[0].ids, other.ids)
        return Trace((met[0],), {"out": met[0].ids})

    def tf_keras_form(self, operation: Any) -> Sequence[TFKerasForm]:
        return (TFKerasForm(role="sum"),)

    def examples(self) -> Sequence[Any]:
        def gated(x: Any, y: Any) -> Any:
            squeezed = keras.layers.GlobalAveragePooling2D(keepdims=True)(y)
            return x * keras.layers.Conv2D(6, 1, activation="sigmoid")(squeezed) * keras.layers.Conv2D(1, 1)(x)

        return [
            _net(lambda x, y: keras.layers.Multiply()([x, y])),
            _net(lambda x, y: CustomScaleLayer(0.3)([x, y])),
            _net(lambda x, y: keras.ops.maximum(x, 2.0 * y) - y / 3.0),
            _net(lambda x, y: x + y * np.arange(6, dtype="float32")),
            _net(gated),
        ]


@register_rule(keras.layers.Add, operation("Add"))
class Addition(Merge):
    """Sums of tensors, with broadcasting: equal positions along the channels are tied."""

    adds_inputs = True

    def piecewise_linear(self, call: Call) -> bool:
        return True

    def examples(self) -> Sequence[Any]:
        return [_net(lambda x, y: keras.layers.Add()([x, y])), _net(lambda x, y: x + y)]


def _net(meet: Callable[[Any, Any], Any]) -> Any:
    """A tiny net in which `meet` makes one tensor of two."""
    x = inputs = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(6, 3, activation="relu")(x)
    y = keras.layers.Conv2D(6, 3, padding="same", activation="sigmoid")(x)
    return keras.Model(inputs, keras.layers.Conv2D(4, 1)(meet(x, y)))


@register_rule(keras.layers.Concatenate, operation("Concatenate"))
class Concatenate(LayerRule):
    """Along the channels, those of all inputs stand side by side; along another axis, equal positions are tied."""

    linear_pieces = True

    def trace(self, call: Call, labels: Labeller) -> Trace:
        given = [labels[tensor] for tensor in call.inputs]
        rank = len(call.outputs[0].shape)
        axis = given[0].axis
        if axis is None or any(one.axis != axis for one in given) or call.static_arrays():
            text = "concatenates tensors whose channels run along different axes"
            return labels.refuse(call, text, LockReason.OTHER_AXIS)
        if call.operation.axis % rank == axis:
            ids = np.concatenate([one.ids for one in given])
        else:
            ids = given[0].ids
            for other in given[1:]:
                labels.tie(ids, other.ids)
        return Trace((Labels(axis, ids),), {"out": ids})

    def examples(self) -> Sequence[Any]:
        def net(axis: int) -> Any:
            x = inputs = keras.Input((8, 8, 3))
            x = keras.layers.Conv2D(6, 3, activation="relu")(x)
            y = keras.layers.Conv2D(6, 3, padding="same", activation="relu")(x)
            return keras.Model(inputs, keras.layers.Conv2D(4, 1)(keras.layers.Concatenate(axis=axis)([x, y])))

        return [net(-1), net(1)]
