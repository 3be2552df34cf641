"""EinsumDense layers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import keras

from keras_taylor._keras.program import Call
from keras_taylor.rules._activation import mixes_channels, tf_keras_activation
from keras_taylor.rules._base import Keep, Labeller, Labels, LayerRule, Linear, Remake, Step, Trace
from keras_taylor.rules._locks import LockReason
from keras_taylor.rules._registry import register_rule
from keras_taylor.rules._tf_keras_form import TFKerasForm


def _terms(operation: Any) -> tuple[str, str, str]:
    """The letters of the input, the kernel and the output; an ellipsis counts as the letter `.`."""
    left, out = operation.equation.replace(" ", "").replace("...", ".").split("->")
    given, kernel = left.split(",")
    return given, kernel, out


def _contracts_last(operation: Any) -> bool:
    """Whether the last axis of the input is contracted, and the last axis of the output comes from the kernel alone."""
    given, kernel, out = _terms(operation)
    return given[-1] in kernel and given[-1] not in out and out[-1] in kernel and out[-1] not in given


@register_rule(keras.layers.EinsumDense)
class EinsumDense(LayerRule):
    """Contracts over the last axis of the input, and the last axis of the output comes from the kernel; others are locked."""

    kernels = ("kernel",)
    linear_pieces = True

    def weight_axes(self, operation: Any) -> Mapping[str, str]:
        given, kernel, out = _terms(operation)
        words = {given[-1]: "in", out[-1]: "out"} if _contracts_last(operation) else {}
        axes = {"kernel": " ".join(words.get(letter, ".") for letter in kernel)}
        if operation.bias_axes:
            axes["bias"] = " ".join(words.get(letter, ".") for letter in out if letter in operation.bias_axes)
            axes["bias"] = " ".join(["."] * (len(operation.bias.shape) - len(axes["bias"].split())) + [axes["bias"]])
        return axes

    def positions(self, call: Call) -> int:
        _, kernel, out = _terms(call.operation)
        shape = call.outputs[0].shape
        if "." in out:
            start, after = out.index("."), len(out) - out.index(".") - 1
            letters = list(out[:start]) + ["."] * (len(shape) - start - after) + list(out[start + 1 :])
        else:
            letters = list(out)
        return math.prod(d or 1 for letter, d in zip(letters[1:], shape[1:], strict=True) if letter not in kernel)

    def trace(self, call: Call, labels: Labeller) -> Trace:
        given, last = labels[call.inputs[0]], len(call.outputs[0].shape) - 1
        if not _contracts_last(call.operation) or given.axis != len(call.inputs[0].shape) - 1:
            text = f"({call.operation.equation}) does not lead from the last axis to the last axis"
            return labels.refuse(call, text, LockReason.OTHER_AXIS)
        out = labels.mint(call, call.operation.partial_output_shape[-1])
        reason = mixes_channels(call.operation)
        if reason:
            labels.lock(out, reason, LockReason.MIXES_CHANNELS, call)
        return Trace((Labels(last, out),), {"in": given.ids, "out": out}, consumes=True)

    def remake(self, step: Step, keep: Keep) -> Remake:
        if "out" not in step.axes:  # refused: it stays as it is
            return Remake()
        shape = step.call.operation.partial_output_shape
        return Remake({"output_shape": (*shape[:-1], int(keep[step.axes["out"]].sum()))})

    def linear(self, operation: Any) -> Linear | None:
        given, kernel, out = _terms(operation)
        alone = sorted(kernel) == sorted(given[-1] + out[-1]) and given[:-1] == out[:-1]
        if not alone or operation.bias_axes not in (None, "", out[-1]):
            return None
        turned = kernel[0] == out[-1]
        return Linear(
            "kernel",
            1,
            None,
            lambda kernel: (kernel.T if turned else kernel)[None],
            lambda _, matrix: matrix[0].T if turned else matrix[0],
        )

    def tf_keras_form(self, operation: Any) -> Sequence[TFKerasForm]:
        config = {"equation": operation.equation, "output_shape": operation.partial_output_shape}
        config |= {"bias_axes": operation.bias_axes}
        weights = ("kernel", "bias") if operation.bias_axes else ("kernel",)
        return (TFKerasForm("EinsumDense", config, weights, role="kernel", kernel="kernel"), *tf_keras_activation(operation))

    def examples(self) -> Sequence[Any]:
        def model(shape: tuple[int, ...], *options: tuple[str, Any, str | None]) -> Any:
            made = [
                keras.layers.EinsumDense(equation, output_shape=out, bias_axes=bias, activation="relu")
                for equation, out, bias in options
            ]
            return keras.Sequential([keras.Input(shape), keras.layers.Dense(6), *made, keras.layers.Dense(2)])

        return [
            model((4, 5), ("abc,cd->abd", (None, 6), "d"), ("...x,yx->...y", 4, None)),
            model((3, 5), ("abc,cd->abd", (3, 6), "bd"), ("abc,bcd->ad", 4, "d")),
        ]
