"""The only module that imports TFMOT and tf_keras: when it is asked to, and leaving the process as it was."""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_taylor._keras.process import unchanged
from keras_taylor._keras.program import Call, Tensor, infer
from keras_taylor._output.optional import optional
from keras_taylor._trace.graph import ChannelGraph
from keras_taylor.quantizers._lowering import Node, chains, lower
from keras_taylor.rules import TFKerasForm

_TFMOT = "tensorflow_model_optimization.python.core.quantization.keras"


@functools.cache
def libraries() -> SimpleNamespace:
    """tf_keras, and of TFMOT what quantization-aware training needs.

    TFMOT would turn a `tf.keras` that nobody has touched yet into tf_keras, so it is touched first.

    Raises:
        MissingPackage: one of both is not installed.
    """
    with unchanged():
        _ = tf.keras.layers
        tf_keras = optional("tf_keras", "qat")
        quantize_layer, quantize_wrapper, quantizers, registry = (
            optional(f"{_TFMOT}.{name}", "qat")
            for name in ("quantize_layer", "quantize_wrapper", "quantizers", "default_8bit.default_8bit_quantize_registry")
        )

    return SimpleNamespace(
        tf_keras=tf_keras,
        layers=tf_keras.layers,
        Wrapper=quantize_wrapper.QuantizeWrapperV2,
        Rounding=quantize_layer.QuantizeLayer,
        AllValues=quantizers.AllValuesQuantizer,
        MovingAverage=quantizers.MovingAverageQuantizer,
        PerChannel=_per_channel(quantizers.LastValueQuantizer),
        Config=registry.Default8BitQuantizeConfig,
    )


class Bridge:
    """A Keras 3 model as a tf_keras model with copies of its weights.

    Args:
        graph: the traced model.
        quantized: whether TFMOT's wrappers round weights and activations as 8-bit arithmetic will.

    Attributes:
        model: the tf_keras model; it takes and returns flat lists in the order of the Keras 3 model.
        trainable: its variables that may be trained.
        rounded: the tensors that 8-bit arithmetic rounds, by the same keys for every bridge of a graph.
        ranges: with `quantized`, the variables `(min, max)` of each of them.

    Raises:
        UnsupportedModel: an operation has weights and no tf_keras form.
    """

    def __init__(self, graph: ChannelGraph, quantized: bool = False) -> None:
        self._libraries = libraries()
        self._quantized = quantized
        self._made: dict[Any, Any] = {}
        self._names = 0
        self.rounded: dict[str, Any] = {}
        self.ranges: dict[str, tuple[Any, Any]] = {}
        self.trainable: list[Any] = []
        self._weights: list[tuple[Any, Any]] = []
        self._watched: Any = None
        self._chains = chains(lower(graph))
        inputs = [
            self._libraries.layers.Input(t.shape[1:], dtype=t.dtype, name=f"input_{t.index}") for t in graph.program.inputs
        ]
        fed = [self._input(number, x) for number, x in enumerate(inputs)]
        outputs = graph.program.run(fed, self._call)
        self.model = self._libraries.tf_keras.Model(inputs, outputs)

    def write_back(self) -> None:
        """Copy the weights to the Keras 3 model."""
        for variable, form in self._weights:
            variable.assign(form.numpy())

    def read(self) -> None:
        """Copy the weights from the Keras 3 model."""
        for variable, form in self._weights:
            form.assign(variable)

    def weights(self) -> list[Any]:
        """Copies of what is trained, as arrays."""
        return [variable.numpy() for variable in self.trainable]

    def restore(self, weights: list[Any]) -> None:
        """Set what is trained to what `weights` gave."""
        for variable, value in zip(self.trainable, weights, strict=True):
            variable.assign(value)

    def extremes(self, names: Sequence[str], batch: list[Any]) -> tuple[Any, Any]:
        """The least and the greatest value of each of these tensors in inference, shapes `(names,)`."""
        if self._watched is None:
            watched = self._libraries.tf_keras.Model(self.model.inputs, [self.rounded[name] for name in names])

            @tf.function(autograph=False, reduce_retracing=True)
            def found(inputs: list[Any]) -> tuple[Any, Any]:
                values = [tf.cast(value, tf.float32) for value in tf.nest.flatten(watched(inputs, training=False))]
                return tf.stack([tf.reduce_min(v) for v in values]), tf.stack([tf.reduce_max(v) for v in values])

            self._watched = found
        low, high = self._watched([tf.convert_to_tensor(x) for x in batch])
        return low.numpy(), high.numpy()

    def refresh(self) -> None:
        """Take the ranges of the weights from their values, as a training step does."""
        for layer in self._made.values():
            for weight, quantizer, variables in getattr(layer, "_weight_vars", ()):
                quantizer(weight, True, weights=variables)

    def _input(self, number: int, tensor: Any) -> Any:
        if not tensor.dtype.is_floating:
            return tensor
        self.rounded[f"input {number}"] = tensor
        if not self._quantized:
            return tensor
        return self._rounded(f"input {number}", tensor, self._libraries.AllValues)

    def _call(self, call: Call, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        leaves = keras.tree.flatten((args, kwargs))
        places = [isinstance(leaf, Tensor) for leaf in keras.tree.flatten((call.args, call.kwargs))]
        value: Any = [leaf for leaf, tensor in zip(leaves, places, strict=True) if tensor]
        value = value[0] if len(value) == 1 else value
        for node in self._chains[id(call)]:
            value = self._apply(node, value)
        return value

    def _apply(self, node: Node, value: Any) -> Any:
        result = self._layer(node, value)(value)
        if not node.rounds:
            return result
        name = f"{node.call.name} {node.slot}"
        self.rounded[name] = result
        return self._rounded(name, result, self._libraries.MovingAverage) if self._quantized else result

    def _rounded(self, name: str, tensor: Any, kind: Any) -> Any:
        """Round a tensor by a scale of its own: a layer that is called twice has two."""
        layer = self._libraries.Rounding(kind(num_bits=8, per_axis=False, symmetric=False, narrow_range=False))
        layer._name = self._unique(f"round_{name}")
        result = layer(tensor)
        self.ranges[name] = (layer.quantizer_vars["min_var"], layer.quantizer_vars["max_var"])
        return result

    def _layer(self, node: Node, value: Any) -> Any:
        """The layer to call: one for all calls of an operation that has weights."""
        key = (node.call.name if node.form.kind is None else id(node.call.operation), node.slot)
        if key not in self._made:
            self._made[key] = self._make(node, value, node.form)
        return self._made[key]

    def _make(self, node: Node, value: Any, form: TFKerasForm) -> Any:
        operation, name = node.call.operation, self._unique(node.call.name)
        if form.kind is None:
            layer = _running(self._libraries.layers.Layer, node.call)(name=name)
        else:
            layer = getattr(self._libraries.layers, form.kind)(**form.config, name=name)
        layer.build([v.shape for v in value] if isinstance(value, list) else value.shape)
        layer.trainable = getattr(operation, "trainable", True)
        self.trainable += layer.trainable_weights
        if form.role == "norm":
            layer.trainable = False  # scale and offset are trained, statistics stay: the file will fold them in
        for attribute, variable in zip(form.weights, layer.weights[: len(form.weights)], strict=True):
            source = getattr(operation, attribute)
            variable.assign(source)
            self._weights.append((source, variable))
        if not self._quantized or not form.kernel:
            return layer
        config = self._libraries.Config([form.kernel], [], False)
        config.weight_quantizer = self._libraries.PerChannel(_channel_axes(form, getattr(layer, form.kernel)))
        return self._libraries.Wrapper(layer, config)

    def _unique(self, name: str) -> str:
        """A name that tf_keras takes, and that no other layer has."""
        self._names += 1
        return f"{re.sub(r'[^a-zA-Z0-9_.-]', '_', name)}.{self._names}"


def _channel_axes(form: TFKerasForm, kernel: Any) -> tuple[int, ...]:
    """The axes of a kernel that count output channels: LiteRT gives each channel a scale of its own."""
    rank, kind = len(kernel.shape), form.kind or ""
    if kind == "EinsumDense":
        _, letters, outputs = re.split(",|->", form.config["equation"])
        return tuple(axis for axis, letter in enumerate(letters) if letter in outputs)
    if kind.startswith("Depthwise"):
        return rank - 2, rank - 1
    return (rank - 2,) if kind.endswith("Transpose") else (rank - 1,)


def _per_channel(base: Any) -> Any:
    """A class of TFMOT's quantizers with one scale for each place along some axes; TFMOT's own know the last axis alone."""

    class PerChannel(base):
        def __init__(self, axes: tuple[int, ...]) -> None:
            super().__init__(num_bits=8, per_axis=True, symmetric=True, narrow_range=True)
            self.axes = axes

        def build(self, tensor_shape: Any, name: str, layer: Any) -> dict[str, Any]:
            shape = (math.prod(tensor_shape[axis] for axis in self.axes),)
            return {
                f"{end}_var": layer.add_weight(f"{name}_{end}", shape, initializer="zeros", trainable=False)
                for end in ("min", "max")
            }

        def __call__(self, inputs: Any, training: Any, weights: Any, **kwargs: Any) -> Any:
            order = [axis for axis in range(len(inputs.shape)) if axis not in self.axes] + list(self.axes)
            moved = tf.transpose(inputs, order)
            flat = tf.reshape(moved, (-1, weights["min_var"].shape[0]))
            rounded = super().__call__(flat, training, weights, **kwargs)
            return tf.transpose(tf.reshape(rounded, moved.shape), np.argsort(order))

    return PerChannel


def _running(base: Any, call: Call) -> Any:
    """A class of layers that run the operation of `call`, which has no weights, with its other arguments as they are."""

    class Operation(base):
        def build(self, input_shape: Any) -> None:
            self.built = True

        def call(self, inputs: Any) -> Any:
            given: Sequence[Any] = inputs if isinstance(inputs, (list, tuple)) else [inputs]
            args, kwargs = call.fill({t.index: value for t, value in zip(call.inputs, given, strict=True)})
            return infer(call, args, kwargs)

        def compute_output_shape(self, input_shape: Any) -> Any:
            return tf.TensorShape(call.outputs[0].shape)

    return Operation
