"""MACs and parameters, with the arithmetic written out. 1 MAC is 1; a bias is a parameter and no MAC."""

import keras
import numpy as np
import pytest

import keras_taylor as kt
from tests import nets

layers = keras.layers

# One layer on 8 x 8 x 6 (2-d) or 8 x 6 (1-d): the layer, its MACs, its parameters.
LAYERS = {
    "conv, valid": (layers.Conv2D(4, 3), 6 * 6 * 3 * 3 * 6 * 4, 3 * 3 * 6 * 4 + 4),
    "conv, same, stride 2": (layers.Conv2D(4, 3, strides=2, padding="same"), 4 * 4 * 3 * 3 * 6 * 4, 3 * 3 * 6 * 4 + 4),
    "conv, valid, stride 2": (layers.Conv2D(4, 3, strides=2), 3 * 3 * 3 * 3 * 6 * 4, 3 * 3 * 6 * 4 + 4),
    "conv, dilated": (layers.Conv2D(4, 3, dilation_rate=2), 4 * 4 * 3 * 3 * 6 * 4, 3 * 3 * 6 * 4 + 4),
    "conv, oblong, no bias": (layers.Conv2D(4, (1, 5), use_bias=False), 8 * 4 * 1 * 5 * 6 * 4, 1 * 5 * 6 * 4),
    "conv, 2 groups": (layers.Conv2D(4, 3, groups=2), 6 * 6 * 3 * 3 * (6 // 2) * 4, 3 * 3 * 3 * 4 + 4),
    "conv, 6 groups": (layers.Conv2D(12, 3, groups=6), 6 * 6 * 3 * 3 * 1 * 12, 3 * 3 * 1 * 12 + 12),
    "depthwise": (layers.DepthwiseConv2D(3), 6 * 6 * 3 * 3 * 6, 3 * 3 * 6 + 6),
    "depthwise, multiplier 2": (
        layers.DepthwiseConv2D(3, depth_multiplier=2, padding="same"),
        8 * 8 * 3 * 3 * 6 * 2,
        3 * 3 * 6 * 2 + 6 * 2,
    ),
    "separable": (layers.SeparableConv2D(4, 3), 6 * 6 * (3 * 3 * 6 + 6 * 4), 3 * 3 * 6 + 6 * 4 + 4),
    "separable, multiplier 2": (
        layers.SeparableConv2D(4, 3, depth_multiplier=2),
        6 * 6 * (3 * 3 * 6 * 2 + 6 * 2 * 4),
        3 * 3 * 6 * 2 + 12 * 4 + 4,
    ),
    "transposed, stride 2": (layers.Conv2DTranspose(4, 3, strides=2), 8 * 8 * 3 * 3 * 6 * 4, 3 * 3 * 6 * 4 + 4),
    "dense on positions": (layers.Dense(4), 8 * 8 * 6 * 4, 6 * 4 + 4),
    "batch norm": (layers.BatchNormalization(), 0, 4 * 6),
    "layer norm": (layers.LayerNormalization(), 0, 2 * 6),
    "prelu": (layers.PReLU(), 0, 8 * 8 * 6),
    "relu": (layers.ReLU(), 0, 0),
    "flatten": (layers.Flatten(), 0, 0),
}


@pytest.mark.parametrize("name", LAYERS)
def test_layer_by_hand(name):
    layer, macs, params = LAYERS[name]
    graph = kt.trace(keras.Sequential([keras.Input((8, 8, 6)), type(layer).from_config(layer.get_config())]))
    assert graph.macs == macs
    assert graph.params == params


def test_dense_and_conv1d_by_hand():
    dense = kt.trace(keras.Sequential([keras.Input((6,)), layers.Dense(4)]))
    assert (dense.macs, dense.params) == (6 * 4, 6 * 4 + 4)
    conv = kt.trace(keras.Sequential([keras.Input((8, 6)), layers.Conv1D(4, 3)]))
    assert (conv.macs, conv.params) == (6 * 3 * 6 * 4, 3 * 6 * 4 + 4)


def test_channels_first_counts_the_same_positions():
    net = [keras.Input((6, 8, 8)), layers.Conv2D(4, 3, data_format="channels_first", name="conv")]
    assert kt.trace(keras.Sequential(net)).macs == 6 * 6 * 3 * 3 * 6 * 4


def test_a_shared_layer_costs_macs_twice_and_parameters_once():
    x = inputs = keras.Input((8, 8, 6))
    conv = layers.Conv2D(6, 3, padding="same")
    graph = kt.trace(keras.Model(inputs, conv(conv(x))))
    assert graph.macs == 2 * (8 * 8 * 3 * 3 * 6 * 6)
    assert graph.params == 3 * 3 * 6 * 6 + 6


def test_cost_of_what_is_kept_by_hand():
    """conv1 (3 -> 6, 6 x 6) keeps 4, conv2 (6 -> 8, 4 x 4) keeps 5, logits (8 -> 2)."""
    model = nets.chain()
    graph = kt.trace(model)
    keep = np.ones(graph.channels, bool)
    keep[nets.producer_channels(graph, "conv1")[:2]] = False
    keep[nets.producer_channels(graph, "conv2")[:3]] = False
    macs = 6 * 6 * 9 * 3 * 4 + 4 * 4 * 9 * 4 * 5 + 5 * 2
    params = (9 * 3 * 4 + 4) + (9 * 4 * 5 + 5) + (5 * 2 + 2)
    assert graph.cost.totals(keep) == {"macs": macs, "params": params, "channels": 4 + 5 + 2}
    assert graph.cost.totals() == {"macs": graph.macs, "params": graph.params, "channels": graph.channels - 3}


def test_slope_is_what_the_removal_of_one_channel_saves():
    graph = kt.trace(nets.randomized(nets.residual()))
    rng = np.random.default_rng(0)
    free = np.flatnonzero(graph.locks == "")
    for budget in ("macs", "params", "channels"):
        keep = np.ones(graph.channels, bool)
        keep[rng.choice(free, 3, replace=False)] = False
        counts = graph.cost.counts(keep)
        for channel in free[keep[free]]:
            less = keep.copy()
            less[channel] = False
            taken = graph.cost.positions(np.array([channel]))
            saved = taken @ graph.cost.slope(budget, counts) - graph.cost.together(budget, taken)
            assert saved == graph.cost.totals(keep)[budget] - graph.cost.totals(less)[budget]


def vgg16_macs():
    """VGG-16 on 224 x 224 (Simonyan and Zisserman 2015, configuration D): 3 x 3 convolutions, then three dense layers."""
    total, side, channels = 0, 224, 3
    for block in ((64, 64), (128, 128), (256,) * 3, (512,) * 3, (512,) * 3):
        for filters in block:
            total += side * side * 3 * 3 * channels * filters
            channels = filters
        side //= 2
    return total + 7 * 7 * 512 * 4096 + 4096 * 4096 + 4096 * 1000


def resnet50_macs():
    """ResNet-50 v1 on 224 x 224 (He et al. 2016): the stride is in the first 1 x 1 of a stage, as in Keras."""
    total, channels = 112 * 112 * 7 * 7 * 3 * 64, 64
    for stage, (blocks, width) in enumerate([(3, 64), (4, 128), (6, 256), (3, 512)]):
        side = 56 // 2**stage
        for block in range(blocks):
            if block == 0:
                total += side * side * channels * 4 * width
            total += side * side * (channels * width + 3 * 3 * width * width + width * 4 * width)
            channels = 4 * width
    return total + 2048 * 1000


def mobilenet_v2_macs():
    """MobileNetV2 1.0 on 224 x 224 (Sandler et al. 2018, Table 2)."""
    side, channels = 112, 32
    total = side * side * 3 * 3 * 3 * channels
    for t, c, n, s in [
        (1, 16, 1, 1),
        (6, 24, 2, 2),
        (6, 32, 3, 2),
        (6, 64, 4, 2),
        (6, 96, 3, 1),
        (6, 160, 3, 2),
        (6, 320, 1, 1),
    ]:
        for block in range(n):
            wide = t * channels
            if t > 1:
                total += side * side * channels * wide
            side //= s if block == 0 else 1
            total += side * side * (3 * 3 * wide + wide * c)
            channels = c
    return total + side * side * 320 * 1280 + 1280 * 1000


APPLICATIONS = {
    "VGG16": (vgg16_macs, 15.47e9, 138_357_544),
    "ResNet50": (resnet50_macs, 3.858e9, 25_636_712),
    "MobileNetV2": (mobilenet_v2_macs, 300.8e6, 3_538_984),
}


@pytest.mark.parametrize("name", APPLICATIONS)
def test_published_figures(name):
    """The figure written out from the paper's table is exact, and rounds to the published one."""
    by_hand, published, params = APPLICATIONS[name]
    model = getattr(keras.applications, name)(weights=None)
    graph = kt.trace(model)
    assert graph.macs == by_hand()
    assert graph.macs == pytest.approx(published, rel=5e-4)
    assert graph.params == model.count_params() == params
    macs, parameters = graph.cost.by_layer()
    assert sum(macs.values()) == graph.macs
    assert sum(parameters.values()) == graph.params


def test_resnet50_lies_in_the_published_range():
    """3.8 billion in the paper's Table 1 (He et al. 2016), 4.1 where the stride is in the 3 x 3."""
    assert 3.8e9 < resnet50_macs() < 4.1e9


def test_params_count_what_keras_counts():
    for model in (nets.chain(), nets.residual(), nets.nested()):
        assert kt.trace(model).params == model.count_params()
