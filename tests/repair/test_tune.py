"""Joint reconstruction: what is compared, what is trained, and what happens when it cannot work."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_taylor as kt
from keras_taylor._plan.pruning_plan import to_mask
from keras_taylor._repair.augment import augmentation
from keras_taylor._repair.method import Work
from keras_taylor._repair.reconstruction import Reconstruction
from keras_taylor._repair.tune import Tune
from keras_taylor._trace.graph import trace
from keras_taylor.errors import BadInput, NonFiniteScores, UnknownName

layers = keras.layers
IMAGES = np.random.default_rng(0).normal(size=(96, 8, 8, 3)).astype("float32")
PLAN = kt.PruningPlan({"conv1": (0, 1, 2, 5), "depthwise": (0, 1, 2, 5)})


def net(activation=None, dtype=None):
    x = inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(6, 3, use_bias=False, name="conv1", dtype=dtype)(x)
    x = layers.ReLU(dtype=dtype)(layers.BatchNormalization(name="norm", dtype=dtype)(x))
    x = layers.DepthwiseConv2D(3, name="depthwise", dtype=dtype)(x)
    x = layers.Conv2D(6, 1, activation="relu", name="conv2", dtype=dtype)(x)
    x = layers.GlobalAveragePooling2D(dtype=dtype)(x)
    model = keras.Model(inputs, layers.Dense(5, activation=activation, name="head", dtype="float32")(x))
    kt.testing.randomize(model)
    return model


class Pruned:
    """A model, what is left of it, and the distance of the two on images that are not tuned on."""

    def __init__(self, model, plan=PLAN):
        self.graph = trace(model)
        self.keep = self.graph.keep_labels(to_mask(self.graph, plan))
        self.small = trace(kt.rebuild(model, plan))
        self.held = [tf.constant(IMAGES[64:])]

    def distances(self, weights=None):
        objective = Reconstruction(self.graph, self.keep, self.small, weights)
        found = objective.distances(self.held, objective.targets(self.held)).numpy()
        return dict(zip([place.name for place in objective.places], found, strict=True))

    def judge(self):
        return (sum(self.distances().values()),)

    def tune(self, judge=None, inputs=(IMAGES[:64],), frozen=False, seed=0, **options):
        work = Work(self.graph, self.keep, self.small, inputs, judge or self.judge, frozen=frozen, seed=seed)
        return Tune(**{"passes": 6, "learning_rate": 0.01, "batch_size": 16, "augment": None} | options).apply(work)

    def weights(self):
        return {w.path: w.numpy() for w in self.small.model.weights}


def changed(before, after):
    return {path for path in before if not np.array_equal(before[path], after[path])}


def test_the_distance_is_measured_where_channels_are_read_and_at_the_outputs():
    model = net()
    pruned = Pruned(model)
    x = layers.ReLU()(model.get_layer("norm")(model.get_layer("conv1")(IMAGES[64:]))).numpy()[..., [0, 1, 2, 5]]
    small = pruned.small.model
    small.get_layer("conv1").kernel.assign(small.get_layer("conv1").kernel * 0.5)
    y = layers.ReLU()(small.get_layer("norm")(small.get_layer("conv1")(IMAGES[64:]))).numpy()
    out = model.predict(IMAGES[64:], verbose=0)
    found = pruned.distances()
    assert list(found) == ["depthwise", "conv2", "head", "output of head"]
    assert np.isclose(found["depthwise"], ((y - x) ** 2).sum() / (x**2).sum(), rtol=1e-4)
    wrong = ((small.predict(IMAGES[64:], verbose=0) - out) ** 2).sum()
    assert np.isclose(found["output of head"], wrong / (out**2).sum(), rtol=1e-4)
    assert np.isclose(pruned.distances({"conv2": 3.0})["conv2"], 3 * found["conv2"], rtol=1e-5)
    with pytest.raises(UnknownName, match="layer of weights"):
        pruned.distances({"conv9": 1.0})


def test_nothing_removed_is_no_distance():
    assert all(value < 1e-9 for value in Pruned(net(), kt.PruningPlan({})).distances().values())


def test_probabilities_are_compared_as_logits():
    model = net("softmax")
    pruned = Pruned(model)
    objective = Reconstruction(pruned.graph, pruned.keep, pruned.small)
    logits = np.log(model.predict(IMAGES[64:], verbose=0))
    assert np.allclose(objective.targets(pruned.held)[-1], logits - logits.mean(axis=-1, keepdims=True), atol=1e-4)


def test_it_comes_closer_and_touches_neither_statistics_nor_the_original_nor_frozen_layers():
    model = net()
    model.get_layer("conv2").trainable = False
    pruned = Pruned(model)
    original, before, start = model.get_weights(), pruned.weights(), pruned.judge()
    assert pruned.tune(augment="images") == 6
    assert pruned.judge()[0] < 0.8 * start[0]
    assert changed(before, pruned.weights()) == {
        "conv1/kernel", "norm/gamma", "norm/beta", "depthwise/kernel", "depthwise/bias", "head/kernel", "head/bias"
    }  # fmt: skip
    assert all(map(np.array_equal, original, model.get_weights()))
    pruned.tune(frozen=True)
    assert {"conv2/kernel", "conv2/bias"} < changed(before, pruned.weights())
    assert not changed(before, pruned.weights()) & {"norm/moving_mean", "norm/moving_variance"}
    assert not pruned.small.model.get_layer("conv2").trainable


def test_the_same_seed_gives_the_same_weights():
    found = []
    for seed in (0, 0, 1):
        pruned = Pruned(net())
        pruned.tune(augment="images", passes=2, seed=seed)
        found.append(pruned.weights())
    assert not changed(found[0], found[1])
    assert changed(found[0], found[2])


def test_the_best_weights_stay_even_if_they_are_those_at_the_start():
    pruned = Pruned(net())
    before, calls = pruned.weights(), []

    def likes_the_start():
        calls.append(1)
        return (len(calls),)

    assert pruned.tune(likes_the_start) == 6
    assert len(calls) > 2
    assert not changed(before, pruned.weights())


def test_a_budget_of_time():
    pruned = Pruned(net())
    before = pruned.weights()
    with pytest.warns(UserWarning, match=r"seconds must suffice for one pass to tune. Received: 0.001, at least"):
        assert pruned.tune(seconds=0.001) == 0
    assert not changed(before, pruned.weights())
    assert 1 <= pruned.tune(passes=10**6, seconds=5.0) < 10**6
    assert changed(before, pruned.weights())


def test_fewer_images_than_a_batch_are_one_batch():
    pruned = Pruned(net())
    before = pruned.weights()
    assert pruned.tune(inputs=[IMAGES[:5]], batch_size=64, passes=3) == 3
    assert changed(before, pruned.weights())


def test_an_original_that_is_not_finite_and_a_rate_that_is_too_high():
    model = net()
    kernel = model.get_layer("conv2").kernel
    kernel.assign(kernel * np.nan)
    with pytest.raises(NonFiniteScores, match="NaN or infinity at head"):
        Pruned(model).tune(lambda: (0.0,))
    pruned = Pruned(net())
    before = pruned.weights()
    with pytest.warns(UserWarning, match="Tuning diverged at step"):
        pruned.tune(learning_rate=1e30)
    assert not changed(before, pruned.weights())


@pytest.mark.parametrize("dtype", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision(dtype):
    pruned = Pruned(net(dtype=dtype))
    start = pruned.judge()
    pruned.tune()
    assert np.isfinite(start[0])
    assert pruned.judge()[0] < start[0]


def test_two_inputs_and_outputs_and_a_shared_layer():
    a, b = keras.Input((8, 8, 3), name="a"), keras.Input((4,), name="b")
    shared = layers.Conv2D(6, 3, padding="same", activation="relu", name="shared")
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3, name="last")(layers.Add()([shared(a), shared(a * 0.5)])))
    y = layers.Dense(4, activation="relu", name="dense")(b)
    model = keras.Model([a, b], [layers.Dense(2, name="one")(layers.Add()([x, y])), layers.Dense(3, name="two")(x)])
    kt.testing.randomize(model)
    pruned = Pruned.__new__(Pruned)
    Pruned.__init__(pruned, model, kt.PruningPlan({"shared": (0, 1, 2)}))
    data = [IMAGES, np.random.default_rng(1).normal(size=(96, 4)).astype("float32")]
    pruned.held = [tf.constant(part[64:]) for part in data]
    start = pruned.judge()
    pruned.tune(inputs=data, passes=3, learning_rate=3e-3, augment="images")
    assert pruned.judge() < start


def test_images_are_flipped_and_shifted_and_nothing_else():
    model = net()
    pruned = Pruned(model)
    given = tf.constant(IMAGES)
    found = [augmentation("images", pruned.graph.program.inputs, seed)([given])[0].numpy() for seed in (0, 0, 1)]
    assert np.array_equal(found[0], found[1])
    assert not np.array_equal(found[0], found[2])
    assert (found[0].shape, found[0].dtype) == (IMAGES.shape, IMAGES.dtype)
    assert set(found[0].ravel()) <= set(IMAGES.ravel())
    flat = trace(keras.Sequential([keras.Input((8,)), layers.Dense(2)])).program.inputs
    assert augmentation("images", flat, 0)([given])[0] is given


@pytest.mark.parametrize(
    ("augment", "message"),
    [
        (lambda x: x[:, :4], r"augment must keep shape and dtype. Received: .*\(16, 8, 8, 3\).* became .*\(16, 4, 8, 3\)"),
        (lambda x: tf.cast(x, "float64"), "augment must keep shape and dtype. Received: .*float32.* became .*float64"),
        ("mirror", "augment must be 'images', a function, or None. Received: 'mirror'"),
    ],
)
def test_augmentation_that_cannot_be_used(augment, message):
    with pytest.raises(BadInput, match=message):
        Pruned(net()).tune(augment=augment)


def test_an_augmentation_of_ones_own():
    seen = []

    def noise(x):
        seen.append(x.shape)
        return x + 0.1

    Pruned(net()).tune(augment=noise, passes=1)
    assert seen == [(16, 8, 8, 3)] * 4
