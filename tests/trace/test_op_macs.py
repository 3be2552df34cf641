"""What one call of an operation without a rule costs, against the arithmetic written out."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_taylor as kt
from keras_taylor._trace.op_macs import OpMacs

layers, ops = keras.layers, keras.ops


def of(function, *shapes, dtype="float32"):
    """MACs and what cannot be counted of a function of tensors of these shapes, on one example."""
    graph = tf.__internal__.FuncGraph("test")
    with graph.as_default():
        made = function(*(tf.compat.v1.placeholder(dtype, (1, *shape)) for shape in shapes))
        macs, unknown = OpMacs(graph).new(tf.nest.flatten(made))
    return macs, dict(unknown)


def layer_macs(layer, *shapes):
    """MACs of a model that is nothing but this layer."""
    inputs = [keras.Input(shape) for shape in shapes]
    graph = kt.trace(keras.Model(inputs, layer(*inputs)))
    assert not graph.uncounted
    return graph.macs


def lstm(inputs, units):
    return 4 * units * (inputs + units)


def gru(inputs, units):
    return 3 * units * (inputs + units)


LAYERS = {
    "attention with 2 heads of 4": (lambda: layers.MultiHeadAttention(2, 4), [(5, 8)] * 2, 4 * 5 * 8 * 8 + 2 * 5 * 5 * 8),
    "cross attention": (
        lambda: layers.MultiHeadAttention(2, 4, value_dim=3),
        [(5, 8), (7, 6)],
        5 * 8 * 8 + 7 * 6 * 8 + 7 * 6 * 6 + 5 * 7 * 8 + 5 * 7 * 6 + 5 * 6 * 8,
    ),
    "grouped query attention": (
        lambda: layers.GroupQueryAttention(4, 4, 2),
        [(5, 8)] * 2,
        5 * 8 * 16 + 2 * 5 * 8 * 8 + 2 * 5 * 5 * 16 + 5 * 16 * 8,
    ),
    "LSTM": (lambda: layers.LSTM(3), [(5, 8)], 5 * lstm(8, 3)),
    "LSTM, all steps": (lambda: layers.LSTM(3, return_sequences=True), [(5, 8)], 5 * lstm(8, 3)),
    "LSTM, unrolled": (lambda: layers.LSTM(3, unroll=True), [(5, 8)], 5 * lstm(8, 3)),
    "GRU": (lambda: layers.GRU(3), [(5, 8)], 5 * gru(8, 3)),
    "SimpleRNN": (lambda: layers.SimpleRNN(3), [(5, 8)], 5 * 3 * (8 + 3)),
    "both directions": (lambda: layers.Bidirectional(layers.GRU(3)), [(5, 8)], 2 * 5 * gru(8, 3)),
    "stacked cells": (lambda: layers.RNN([layers.LSTMCell(3), layers.GRUCell(2)]), [(5, 8)], 5 * (lstm(8, 3) + gru(3, 2))),
    "ConvLSTM2D": (lambda: layers.ConvLSTM2D(3, 3, padding="same"), [(5, 8, 8, 2)], 5 * 8 * 8 * 9 * 4 * 3 * (2 + 3)),
    "convolution per frame": (lambda: layers.TimeDistributed(layers.Conv2D(2, 3)), [(5, 8, 8, 3)], 5 * 6 * 6 * 9 * 3 * 2),
    "dilated depthwise per frame": (
        lambda: layers.TimeDistributed(layers.DepthwiseConv2D(3, dilation_rate=2, padding="same")),
        [(5, 9, 8, 3)],
        5 * 9 * 8 * 9 * 3,
    ),
    "dilated per frame": (
        lambda: layers.TimeDistributed(layers.Conv1D(2, 3, dilation_rate=3, padding="causal")),
        [(5, 8, 3)],
        5 * 8 * 3 * 3 * 2,
    ),
    "transposed per frame": (
        lambda: layers.TimeDistributed(layers.Conv2DTranspose(2, 3, strides=2)),
        [(5, 4, 4, 3)],
        5 * 4 * 4 * 9 * 3 * 2,
    ),
    "spectral normalisation": (lambda: layers.SpectralNormalization(layers.Conv2D(2, 3)), [(8, 8, 3)], 6 * 6 * 9 * 3 * 2),
    "a function with a product": (
        lambda: layers.Lambda(lambda x: ops.matmul(x, ops.transpose(x, (0, 2, 1)))),
        [(5, 8)],
        5 * 5 * 8,
    ),
    "a function with a transposed convolution": (
        lambda: layers.Lambda(lambda x: ops.conv_transpose(x, np.ones((3, 3, 4, 2), "float32"), 2)),
        [(8, 8, 2)],
        8 * 8 * 9 * 2 * 4,
    ),
    "a function with an activation": (lambda: layers.Lambda(ops.relu), [(5, 8)], 0),
}


@pytest.mark.parametrize("name", LAYERS)
def test_layers_by_hand(name):
    make, shapes, macs = LAYERS[name]
    assert layer_macs(make(), *shapes) == macs


OPERATIONS = {
    "matmul": (lambda a, b: ops.matmul(a, b), [(4, 5), (5, 6)], 4 * 5 * 6),
    "einsum": (lambda a, b: ops.einsum("bij,bkj->bik", a, b), [(4, 5), (6, 5)], 4 * 5 * 6),
    "einsum that sums a factor first": (lambda a, b: ops.einsum("bij,bjk->bk", a, b), [(4, 5), (5, 6)], 5 * 6),
    "conv": (lambda a: ops.conv(a, np.ones((3, 3, 2, 4), "float32"), padding="same"), [(8, 8, 2)], 64 * 9 * 2 * 4),
    "depthwise conv": (lambda a: ops.depthwise_conv(a, np.ones((3, 3, 2, 2), "float32")), [(8, 8, 2)], 36 * 9 * 2 * 2),
    "tensordot": (lambda a: ops.tensordot(a, np.ones((5, 6), "float32"), 1), [(4, 5)], 4 * 5 * 6),
    "dot product attention": (
        lambda q, k, v: ops.dot_product_attention(q, k, v),
        [(5, 2, 4), (6, 2, 4), (6, 2, 4)],
        2 * 5 * 6 * 2 * 4,
    ),
    "products of elements": (lambda a, b: ops.sum(a * b, axis=-1), [(4, 5), (4, 5)], 0),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_operations_by_hand(name):
    function, shapes, macs = OPERATIONS[name]
    inputs = [keras.Input(shape) for shape in shapes]
    graph = kt.trace(keras.Model(inputs, function(*inputs)))
    assert (graph.macs, graph.uncounted) == (macs, {})


class TestControlFlow:
    def test_a_loop_counts_as_often_as_it_runs(self):
        square = np.ones((8, 8), "float32")
        assert of(lambda x: tf.map_fn(lambda a: a @ square, tf.transpose(x, (1, 0, 2))), (5, 8)) == (5 * 8 * 8, {})
        assert of(
            lambda x: tf.while_loop(lambda y: True, lambda y: (y @ square,), (x[:, 0],), maximum_iterations=3), (5, 8)
        ) == (
            3 * 8 * 8,
            {},
        )

    def test_a_loop_without_a_known_end_is_named(self):
        def function(x):
            return tf.while_loop(lambda y: tf.reduce_sum(y) < 9, lambda y: (y @ np.ones((8, 8), "float32"),), (x[:, 0],))

        macs, unknown = of(function, (5, 8))
        assert macs == 0 and list(unknown) == ["a loop that runs as often as the values say"]

    def test_a_loop_without_kernels_costs_nothing(self):
        assert of(lambda x: tf.while_loop(lambda y: tf.reduce_sum(y) < 9, lambda y: (y + 1.0,), (x,)), (5, 8)) == (0, {})

    def test_the_most_costly_branch_counts(self):
        def function(x):
            few, many = np.ones((8, 2), "float32"), np.ones((8, 7), "float32")
            return tf.cond(tf.reduce_sum(x) > 0, lambda: tf.reduce_sum(x @ few), lambda: tf.reduce_sum(x @ many))

        assert of(function, (5, 8)) == (5 * 8 * 7, {})

        def switch(x):
            made = [lambda n=n: tf.reduce_sum(x @ np.ones((8, n), "float32")) for n in (2, 9, 4)]
            return tf.switch_case(tf.cast(tf.reduce_sum(x), "int32"), made)

        assert of(switch, (5, 8)) == (5 * 8 * 9, {})

    def test_functions_are_entered(self):
        inner = tf.function(lambda x: x @ np.ones((8, 3), "float32"), jit_compile=True)
        assert of(lambda x: inner(x) + inner(x), (5, 8)) == (2 * 5 * 8 * 3, {})

    def test_what_is_needed_twice_counts_once(self):
        def function(x):
            y = x @ np.ones((8, 3), "float32")
            return y + y, y * 2.0

        assert of(function, (5, 8)) == (5 * 8 * 3, {})


class TestWhatCannotBeCounted:
    @pytest.mark.parametrize(
        "name, function",
        [
            ("EagerPyFunc", lambda x: tf.py_function(lambda a: a, [x], tf.float32)),
            ("PyFunc", lambda x: tf.numpy_function(lambda a: a, [x], tf.float32)),
            ("Svd", lambda x: tf.linalg.svd(x)[0]),
            ("RFFT", lambda x: tf.signal.rfft(x)),
            (
                "MatMul of lengths that depend on the values",
                lambda x: tf.boolean_mask(x[0], x[0, :, 0] > 0) @ np.ones((8, 2), "float32"),
            ),
        ],
    )
    def test_is_named(self, name, function):
        macs, unknown = of(function, (8, 8))
        assert macs == 0 and list(unknown) == [name]


def test_a_recurrent_layer_of_a_gpu_costs_the_same():
    def function(x):
        x = tf.transpose(x, (1, 0, 2))
        state, weights = tf.zeros((1, 1, 3)), tf.zeros((4 * 3 * (8 + 3 + 2),))
        return tf.raw_ops.CudnnRNN(input=x, input_h=state, input_c=state, params=weights, is_training=False).output

    assert of(function, (5, 8)) == (5 * lstm(8, 3), {})
