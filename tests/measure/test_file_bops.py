"""Bit operations are those of the file's operations, whatever the precision promised; what is in float is named."""

import keras
import numpy as np
import pytest

import keras_taylor as kt
from keras_taylor._measure.bops import file_bops
from keras_taylor.litert._operations import float_layers, products
from tests import nets

layers = keras.layers
RNG = np.random.default_rng(0)


def sequential(shape, *parts):
    return nets.randomized(keras.Sequential([keras.Input(shape), *parts]))


def noise(shape, count=16):
    return RNG.normal(size=(count, *shape)).astype("float32")


ALIKE = {
    "dense": ((80,), layers.Dense(60, activation="relu"), layers.Dense(33)),
    "dense on a sequence": ((4, 80), layers.Dense(60), layers.Dense(33)),
    "images": (
        (12, 12, 3),
        layers.ZeroPadding2D(),
        layers.Conv2D(16, 3),
        layers.BatchNormalization(),
        layers.ReLU(),
        layers.DepthwiseConv2D(3, strides=2, padding="same"),
        layers.Conv2D(70, 1),
        layers.GlobalAveragePooling2D(),
        layers.Dense(5),
    ),
    "dilated": ((8, 8, 5), layers.Conv2D(6, 3, dilation_rate=2, padding="same"), layers.ReLU()),
    "grouped": ((8, 8, 4), layers.Conv2D(8, 3, groups=2)),
    "transposed": ((6, 6, 5), layers.Conv2DTranspose(6, 3, strides=2), layers.ReLU(), layers.Conv2D(40, 3)),
    "one dimension": ((12, 5), layers.Conv1D(60, 3), layers.Conv1DTranspose(40, 3, strides=2)),
}


@pytest.mark.parametrize("kind", ALIKE)
def test_files_that_keep_the_promise(kind):
    """Every operation in the bits of its precision: then the file counts what the quantizer says."""
    shape, *parts = ALIKE[kind]
    net = sequential(shape, *parts)
    graph = kt.trace(net)
    for quantizer in ("float32", "float16", "dynamic", kt.Int8PTQ(noise(shape)), kt.quantizers.Int16x8PTQ(noise(shape))):
        if kind == "one dimension" and quantizer == "dynamic":
            continue  # the converter leaves the transposed one in float
        file = kt.quantize(graph, quantizer).content
        assert sum(one.macs for one in products(file)) == graph.macs
        assert file_bops(file, graph.macs) == kt.bops(graph, quantizer)


@pytest.mark.filterwarnings("ignore:The int8_ptq file of .* computes in float32")
@pytest.mark.parametrize("layer", [layers.Conv3D, layers.Conv3DTranspose])
def test_what_has_no_integer_kernel_counts_as_float(layer):
    """Two convolutions in float, and a dense layer in integers after them, by hand."""
    parts = layer(4, 1, name="first"), layer(6, 3, name="second"), layers.Flatten(), layers.Dense(5)
    net = sequential((5, 5, 5, 3), *parts)
    made = kt.quantize(net, kt.Int8PTQ(noise((5, 5, 5, 3))), batch_size=1)
    first, last = 5**3 * 3 * 4, parts[-1].kernel.shape[0] * 5
    second = kt.trace(net).macs - first - last
    found = kt.measure(made, runs=1, warm_up=0, verbose=0)
    assert found.bops == first * 32 * 8 + second * 32 * 32 + last * 8 * 8 > kt.bops(net, made.quantizer)


def test_what_a_file_does_not_tell_counts_as_float():
    """A loop: how often it runs is not in the file."""
    net = sequential((6, 8), layers.LSTM(5), layers.Dense(3))
    made = kt.quantize(net, batch_size=1)
    assert kt.measure(made, runs=1, warm_up=0, verbose=0).bops >= (kt.trace(net).macs - 15) * 32 * 32


def test_products_of_attention_are_those_of_the_file():
    inputs = keras.Input((6, 8))
    net = nets.randomized(keras.Model(inputs, layers.MultiHeadAttention(2, 4)(inputs, inputs)))
    made = kt.quantize(net, kt.Int8PTQ(noise((6, 8))))
    assert kt.measure(made, runs=1, warm_up=0, verbose=0).bops == kt.trace(net).macs * 8 * 8


FLOAT = {
    "CONV_3D": ((6, 6, 6, 3), layers.Conv3D(4, 2, name="volume")),
    "NEG": ((6, 6, 3), layers.LayerNormalization(name="volume")),
    "CONV_3D_TRANSPOSE": ((4, 4, 4, 3), layers.Conv3DTranspose(4, 2, name="volume")),
}


@pytest.mark.filterwarnings("ignore:The int8_ptq file of .* differs from the model")
@pytest.mark.parametrize("kind", FLOAT)
def test_what_stays_in_float_is_named(kind):
    shape, layer = FLOAT[kind]
    net = sequential(shape, layers.Dense(3, name="volume_1"), layer)
    with pytest.warns(UserWarning, match=rf"int8_ptq file of .* computes in float32: .*{kind} of 'volume'[;.]"):
        made = kt.quantize(net, kt.Int8PTQ(noise(shape)))
    assert float_layers(made.content, [one.name for one in net.layers])[kind] == ["volume"]
