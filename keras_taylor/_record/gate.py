"""`TaylorGate`, the layer wrapper that records contributions, and `wrap`, the model that carries it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import keras
import tensorflow as tf

from keras_taylor._keras.model import model_like
from keras_taylor._keras.program import Call, functional
from keras_taylor._trace.graph import ChannelGraph, as_graph
from keras_taylor.errors import BadInput

AtPosition = Callable[[Any, Any], Any]
"""What a probe records at every position, from activations and gradients of shape `(batch, positions, channels)`."""


def contribution(activation: Any, gradient: Any) -> Any:
    """What a position adds to dLoss/d(gate)."""
    return activation * gradient


@keras.saving.register_keras_serializable("keras_taylor")
class TaylorGate(keras.layers.Wrapper):
    """Wraps a layer that reads channels, and tells how much each of them contributes to a loss.

    The outputs are those of the wrapped layer. While the gate is `recording`, the gradient of a loss with respect to its
    probe is, for each example and channel, the sum over positions of activation times gradient: dLoss/d(gate), where the gate
    multiplies the channel where the layer reads it. Nothing is multiplied and no gradient of a weight is needed.

    Args:
        layer: the layer whose input channels are gated.
        axis: the axis of its input that the channels run along.

    Input shape: that of `layer`.
    Output shape: that of `layer`.

    Example:
        >>> import keras, tensorflow as tf, keras_taylor as kt
        >>> dense = keras.layers.Dense(1, kernel_initializer="ones")
        >>> gate = kt.TaylorGate(dense)
        >>> x = tf.constant([[1.0, 2.0], [3.0, 4.0]])
        >>> with tf.GradientTape() as tape, gate.recording(batch=2, channels=2) as probe:
        ...     tape.watch(probe)
        ...     loss = tf.reduce_sum(gate(x) ** 2)
        >>> tape.gradient(loss, probe).numpy().tolist()
        [[6.0, 12.0], [42.0, 56.0]]

    References:
        Molchanov et al. 2017, Eq. 7 and 8; the gate of Eq. 1.
    """

    def __init__(self, layer: Any, axis: int = -1, **kwargs: Any) -> None:
        kwargs.setdefault("dtype", layer.dtype_policy)
        super().__init__(layer, **kwargs)
        self.axis = axis
        self._probe: Any = None

    @property
    def recorded_layer(self) -> Any:
        """The wrapped layer: what tracing sees in the place of the gate."""
        return self.layer

    @contextmanager
    def recording(self, batch: Any, channels: int) -> Iterator[Any]:
        """Record while the context is open.

        Args:
            batch: number of examples, an int or a scalar tensor.
            channels: length of the gated axis.

        Yields:
            The probe, a tensor of zeros of shape `(batch, channels)`: watch it with a tape, then differentiate a loss (a
            sum over the examples, not a mean) with respect to it.
        """
        self._probe = tf.zeros((batch, channels), tf.float32)
        try:
            yield self._probe
        finally:
            self._probe = None

    def call(self, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        """The wrapped layer's outputs."""
        if self._probe is not None:
            inputs = probed(inputs, self.axis, [(contribution, self._probe)])
        return self.layer(inputs, *args, **kwargs)

    def compute_output_spec(self, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        """The wrapped layer's."""
        return self.layer.compute_output_spec(inputs, *args, **kwargs)

    def get_config(self) -> dict[str, Any]:
        """The wrapped layer and the axis."""
        return {**super().get_config(), "axis": self.axis}


def probed(inputs: Any, axis: int, probes: Sequence[tuple[AtPosition, Any]]) -> Any:
    """The identity, whose gradients with respect to its probes tell what each example and channel contributes.

    Args:
        inputs: a tensor, with channels along `axis`.
        axis: of the channels.
        probes: what each records, and the probe itself: zeros of shape `(batch, channels)`. The gradient with respect to it is
            the sum over the positions.
    """

    @tf.custom_gradient
    def identity(x: Any, *given: Any) -> Any:
        def gradient(upstream: Any) -> tuple[Any, ...]:
            batch = tf.shape(given[0])[0]
            activation, slope = (by_example(tf.cast(one, tf.float32), axis, batch) for one in (x, upstream))
            return upstream, *(tf.reduce_sum(at_position(activation, slope), 1) for at_position, _ in probes)

        return tf.identity(x), gradient

    return identity(inputs, *(probe for _, probe in probes)) if probes else inputs


def by_example(x: Any, axis: int, batch: Any) -> Any:
    """`x` as `(batch, positions, channels)`. Where positions were folded into the batch axis, an example owns several rows."""
    rank = len(x.shape)
    axis = axis % rank
    if axis != rank - 1:
        x = tf.transpose(x, [a for a in range(rank) if a != axis] + [axis])
    return tf.reshape(x, (batch, -1, x.shape[-1]))


def make_gates(graph: ChannelGraph) -> dict[int, TaylorGate]:
    """A gate for every layer whose kernel reads channels, by id of the layer."""
    return {
        id(step.call.operation): TaylorGate(
            step.call.operation,
            axis=step.inputs[0].axis - len(step.call.inputs[0].shape),
            name=f"gate_{step.call.operation.name}",
        )
        for step in graph.steps
        if step.consumes and step.inputs[0].axis is not None
    }


def wrap(model: Any) -> Any:
    """The model with a `TaylorGate` around every layer that reads channels.

    The wrapped model computes what `model` computes, with the same layers: training one trains the other. It is a Keras model
    like any other, not yet compiled, and every function of this package takes it in the place of `model`.

    Args:
        model: a built Functional or Sequential model, or its graph (`kt.trace(model)`).

    Returns:
        A functional `keras.Model`; its gates are the layers that are `kt.TaylorGate`.

    Raises:
        UnsupportedModel: the model cannot be traced.
        BadInput: two nested models use one layer name, so that they cannot stand in one flat model.

    Example:
        >>> import keras, keras_taylor as kt
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3), keras.layers.Dense(2)])
        >>> [type(layer).__name__ for layer in kt.wrap(model).layers]
        ['InputLayer', 'TaylorGate', 'TaylorGate']
    """
    graph = as_graph(model)
    source = functional(graph.model)
    gates = make_gates(graph)
    operations = {id(step.call.operation): step.call.operation.name for step in graph.steps}
    if len(set(operations.values())) < len(operations):
        raise BadInput(
            f"Layer names of nested models must be unique to wrap {graph.name!r}. Received: a name that is used twice. "
            "Rename the layers of one nested model; kt.score and kt.prune need no wrapping."
        )

    def call(step: Call, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return gates.get(id(step.operation), step.operation)(*args, **kwargs)

    inputs: Sequence[Any] = [keras.Input(batch_shape=x.shape, dtype=x.dtype, name=x.name) for x in source.inputs]
    outputs = graph.program.run(inputs, call)
    return model_like(graph.model, inputs, outputs, f"wrapped_{graph.name}")
