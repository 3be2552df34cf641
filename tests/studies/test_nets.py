"""The nets of study `grid`: shapes, what can be pruned, and weights from elsewhere."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_taylor as kt
from keras_taylor.errors import BadInput
from keras_taylor.studies import _pretrained
from keras_taylor.studies._alexnet import alexnet
from keras_taylor.studies._lrn import NeighbourFactor
from keras_taylor.studies._pixels import MEAN
from keras_taylor.studies._vgg16 import vgg16
from tests import nets

SMALL = {"alexnet": lambda: alexnet(3, width=0.06, size=64), "vgg16": lambda: vgg16(3, width=0.04, size=32)}


def caffe(alexnet_model):
    """The weights of the whole convolutions, in the layout of Caffe, and the same in that of Keras, blue first."""
    theirs, ours = {}, {}
    for name in ("conv1", "conv2", "conv3", "conv4", "conv5"):
        halves = [alexnet_model.get_layer(name + ab) for ab in "ab"]
        kernel = np.concatenate([half.kernel.numpy() for half in halves], -1)
        kernel = kernel[:, :, ::-1] if name == "conv1" else kernel
        bias = np.concatenate([half.bias.numpy() for half in halves])
        ours |= {f"{name}|kernel": kernel, f"{name}|bias": bias}
        theirs |= {f"{name}|weight": kernel.transpose(3, 2, 0, 1), f"{name}|bias": bias}
    for name in ("fc6", "fc7"):
        kernel, bias = (weight.numpy() for weight in alexnet_model.get_layer(name).weights)
        ours |= {f"{name}|kernel": kernel, f"{name}|bias": bias}
        if name == "fc6":
            height, width, count = alexnet_model.get_layer("flatten").input.shape[1:]
            kernel = kernel.reshape(height, width, count, -1).transpose(2, 0, 1, 3).reshape(kernel.shape)
        theirs |= {f"{name}|weight": kernel.T, f"{name}|bias": bias}
    return theirs, ours


@pytest.mark.parametrize("alpha", [1e-4, 2.0])
def test_lrn_is_that_of_tensorflow(alpha):
    x = np.random.default_rng(0).normal(size=(2, 3, 4, 9)).astype("float32")
    found = x * NeighbourFactor(alpha=alpha)(x).numpy()
    np.testing.assert_allclose(found, tf.nn.lrn(x, 2, 1.0, alpha / 5, 0.75), rtol=1e-5)


def test_lrn_follows_its_rule():
    kt.testing.check_rule(NeighbourFactor)


def test_pruned_maps_get_no_new_neighbours():
    inputs = keras.Input((6, 6, 3))
    x = keras.layers.Conv2D(9, 3, name="conv")(inputs)
    x = keras.layers.Multiply(name="norm")([x, NeighbourFactor(alpha=5.0, name="factor")(x)])
    model = nets.randomized(keras.Model(inputs, keras.layers.Conv2D(4, 1)(x)))
    plan = kt.PruningPlan({"conv": (0, 4, 8)})
    small = kt.rebuild(model, plan)
    assert small.get_layer("factor").places == (0, 4, 8) and kt.verify(model, plan, small).ok
    again = kt.PruningPlan({"conv": (0, 2)})
    smaller = kt.rebuild(small, again)
    assert smaller.get_layer("factor").places == (0, 8) and kt.verify(small, again, smaller).ok
    factors = small.get_layer("factor")
    factors.places = (0, 1, 2)
    assert not kt.verify(model, plan, small).ok


@pytest.mark.parametrize("name", SMALL)
def test_rebuilt_is_masked_and_every_map_can_go_alone(name, tmp_path):
    model = nets.randomized(SMALL[name]())
    graph = kt.trace(model)
    for seed in range(2):
        plan = kt.testing.random_plan(graph, seed)
        small = kt.rebuild(graph, plan)
        assert kt.verify(graph, plan, small).ok
    convolutions = [layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D)]
    groups = {group.name: group for group in graph.groups}
    assert sum(len(groups[layer.name].channels) for layer in convolutions) == sum(layer.filters for layer in convolutions)
    assert not any(groups[layer.name].locked for layer in convolutions)
    small.save(tmp_path / "small.keras")
    x = 255 * np.random.default_rng(0).random((2, *model.input_shape[1:])).astype("float32")
    np.testing.assert_allclose(keras.models.load_model(tmp_path / "small.keras")(x), small(x), rtol=1e-5)


@pytest.mark.parametrize(
    ("net", "maps", "gflops"), [("alexnet", 1376, 1.4415), pytest.param("vgg16", 4224, 30.934, marks=pytest.mark.large)]
)
def test_the_full_nets_are_those_of_the_paper(net, maps, gflops):
    model = {"alexnet": lambda: alexnet(102), "vgg16": lambda: vgg16(200)}[net]()
    graph = kt.trace(model)
    convolutions = [layer.name for layer in model.layers if isinstance(layer, keras.layers.Conv2D)]
    assert sum(len(ids) for ids, name in graph.births if name in convolutions) == maps
    assert 2e-9 * graph.macs == pytest.approx(gflops, rel=1e-4)


def test_two_groups_are_two_halves():
    """With the same kernels, the halves compute what a grouped convolution does."""
    model = nets.randomized(alexnet(3, width=0.06, size=64))
    _, arrays = caffe(model)
    first = keras.Model(model.input, model.get_layer("norm1").output)
    second = keras.Model(model.input, model.get_layer("maps2").output)
    x = 255 * np.random.default_rng(0).random((2, 64, 64, 3)).astype("float32")
    grouped = keras.layers.Conv2D(arrays["conv2|bias"].size, 5, padding="same", groups=2, activation="relu")
    read = first(x)
    grouped.build(read.shape)
    grouped.set_weights([arrays["conv2|kernel"], arrays["conv2|bias"]])
    np.testing.assert_allclose(second(x), grouped(read), rtol=1e-4, atol=1e-5)


def test_pixels_are_centred():
    model = SMALL["vgg16"]()
    pixels = keras.Model(model.input, model.get_layer("pixels").output)
    np.testing.assert_allclose(pixels(np.full((1, 32, 32, 3), MEAN, "float32")), 0, atol=1e-4)


@pytest.mark.parametrize("layout", [0, 1])
def test_weights_from_a_file(tmp_path, layout):
    source = nets.randomized(SMALL["alexnet"]())
    np.savez(tmp_path / "weights.npz", **caffe(source)[layout])
    model = nets.randomized(SMALL["alexnet"](), seed=1)
    head = model.get_layer("logits").get_weights()
    _pretrained.load_file(model, tmp_path / "weights.npz")
    x = 255 * np.random.default_rng(0).random((2, 64, 64, 3)).astype("float32")
    before = [keras.Model(one.input, one.get_layer("fc7").output)(x) for one in (source, model)]
    np.testing.assert_allclose(*before, rtol=1e-5)
    assert all(map(np.array_equal, head, model.get_layer("logits").get_weights()))


def test_weights_of_another_net(tmp_path):
    model = SMALL["alexnet"]()
    before = model.get_weights()
    _, arrays = caffe(alexnet(3, width=0.12, size=64))
    np.savez(tmp_path / "wide.npz", **arrays)
    message = r"conv1a\|kernel: \(11, 11, 3, 3\) wanted, \(11, 11, 3, 6\) found.*torchvision"
    with pytest.raises(BadInput, match=message):
        _pretrained.load_file(model, tmp_path / "wide.npz")
    arrays = caffe(model)[1]
    np.savez(tmp_path / "part.npz", **{name: value for name, value in arrays.items() if name != "conv3|bias"})
    with pytest.raises(BadInput, match=r"conv3a\|bias: \(12,\) wanted, nothing found, conv3b\|bias"):
        _pretrained.load_file(model, tmp_path / "part.npz")
    assert all(map(np.array_equal, before, model.get_weights()))


def test_files_without_weights(tmp_path):
    np.savez(tmp_path / "other.npz", x=np.zeros(3))
    np.save(tmp_path / "pickled.npy", {"conv1": [1, 2]}, allow_pickle=True)
    for name, message in (("other.npz", "none in"), ("pickled.npy", "an .npz file"), ("nothing.npz", "No such file")):
        with pytest.raises(BadInput, match=message):
            _pretrained.load_file(SMALL["alexnet"](), tmp_path / name)


def test_imagenet_is_that_of_keras_applications(monkeypatch):
    source = nets.randomized(vgg16(5, width=0.04, size=32))
    theirs = keras.models.clone_model(source)
    theirs.set_weights(source.get_weights())
    theirs.get_layer("logits").name = "predictions"
    listed = keras.Model(theirs.input, theirs.output)
    pixels = listed.get_layer("pixels")
    monkeypatch.setattr(type(pixels), "weights", property(lambda self: []))  # that of keras.applications has no such layer
    monkeypatch.setattr(keras.applications, "VGG16", lambda weights: listed)
    model = SMALL["vgg16"]()
    _pretrained.load_imagenet(model)
    kernel, expected = (one.get_layer("block1_conv1").kernel.numpy() for one in (model, source))
    np.testing.assert_array_equal(kernel, expected[:, :, ::-1])
    np.testing.assert_array_equal(model.get_layer("fc2").bias.numpy(), source.get_layer("fc2").bias.numpy())


def test_imagenet_without_a_network(monkeypatch):
    def unreachable(weights):
        raise OSError("URL fetch failure")

    monkeypatch.setattr(keras.applications, "VGG16", unreachable)
    with pytest.raises(BadInput, match=r"Received: URL fetch failure.*vgg16_weights_tf_dim_ordering_tf_kernels\.h5"):
        _pretrained.load_imagenet(SMALL["vgg16"]())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: alexnet(3, size=32), "size must be a whole number of at least 64"),
        (lambda: alexnet(1), "classes must be a whole number of at least 2"),
        (lambda: vgg16(3, width=0), "width must be"),
    ],
)
def test_bad_options(make, message):
    with pytest.raises(BadInput, match=message):
        make()
