"""Scores against numbers worked out by hand, against stored activations, and for everything that `fit` takes."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_taylor as kt
from keras_taylor._keras.program import infer
from tests import nets

layers = keras.layers

GATE = kt.criteria.Taylor(spatial="sum", normalize=None)
EQ8 = kt.criteria.Taylor(normalize=None)


def product_loss(y_true, y_pred):
    """`y * prediction`: its gradient with respect to the prediction is the label."""
    return keras.ops.sum(y_true * y_pred, axis=-1)


def values(model, data, name, criterion=GATE, **options):
    """Scores of the channels of one producer, in the order of its filters."""
    return kt.score(model, data, criterion=criterion, **options).by_layer()[name]


def two_by_two(kernel, head):
    """A 1 x 1 convolution without activation on a 2 x 1 image, and a dense layer on all four numbers."""
    inputs = keras.Input((2, 1, 2))
    x = layers.Conv2D(2, 1, use_bias=False, name="conv")(inputs)
    model = keras.Model(inputs, layers.Dense(1, use_bias=False, name="head")(layers.Flatten()(x)))
    model.get_layer("conv").set_weights([np.array(kernel, "float32").reshape(1, 1, 2, 2)])
    model.get_layer("head").set_weights([np.array(head, "float32").reshape(4, 1)])
    model.compile("sgd", product_loss)
    return model


class TestByHand:
    """Eq. 8 on numbers that fit on a page.

    Channels of a position are `(a, b) @ [[1, 2], [3, -1]] = (a + 3 b, 2 a - b)`; the head reads position 1 with `(1, -2)` and
    position 2 with `(-1, 1)`; the loss is `y * output`, so the gradients are `y (1, -2)` and `y (-1, 1)`.

        example 1, y = 1:   pixels (1, 0) and (0, 1):   z = (1, 2) and (3, -1)
            channel 1:   1 * 1 + 3 * -1    = -2      channel 2:   2 * -2 + -1 * 1    = -5
        example 2, y = 2:   pixels (2, 1) and (1, 1):   z = (5, 3) and (4, 1)
            channel 1:   5 * 2 + 4 * -2    =  2      channel 2:   3 * -4 + 1 * 2     = -10
        example 3, y = -1:  pixels (0, 2) and (2, 0):   z = (6, -2) and (2, 4)
            channel 1:   6 * -1 + 2 * 1    = -4      channel 2:   -2 * 2 + 4 * -1    = -8
    """

    model = staticmethod(lambda: two_by_two([[1, 2], [3, -1]], [[1], [-2], [-1], [1]]))
    x = np.array([[[1, 0], [0, 1]], [[2, 1], [1, 1]], [[0, 2], [2, 0]]], "float32").reshape(3, 2, 1, 2)
    y = np.array([[1], [2], [-1]], "float32")

    def test_sum_over_positions(self):
        # Absolute values of the sums, then the mean over the three examples.
        expected = [(2 + 2 + 4) / 3, (5 + 10 + 8) / 3]
        np.testing.assert_allclose(values(self.model(), (self.x, self.y), "conv"), expected, rtol=1e-6)

    def test_mean_over_positions_is_equation_8(self):
        expected = [(2 + 2 + 4) / 3 / 2, (5 + 10 + 8) / 3 / 2]
        np.testing.assert_allclose(values(self.model(), (self.x, self.y), "conv", EQ8), expected, rtol=1e-6)

    def test_the_absolute_value_is_outside_the_positions_and_inside_the_examples(self):
        found = values(self.model(), (self.x, self.y), "conv")
        inside_the_positions = [(1 + 3 + 10 + 8 + 6 + 2) / 3, (4 + 1 + 12 + 2 + 4 + 4) / 3]
        outside_the_examples = [abs(-2 + 2 - 4) / 3, abs(-5 - 10 - 8) / 3]
        assert found[0] != pytest.approx(inside_the_positions[0])
        assert found[0] != pytest.approx(outside_the_examples[0])

    def test_l2_per_layer(self):
        a, b = 8 / 3 / 2, 23 / 3 / 2
        norm = np.sqrt(a**2 + b**2)
        found = kt.score(self.model(), (self.x, self.y), criterion="taylor").by_layer()
        np.testing.assert_allclose(found["conv"], [a / norm, b / norm], rtol=1e-6)
        # The head has a single channel, which nothing reads: its score is zero and stays so.
        np.testing.assert_array_equal(found["head"], [0.0])

    def test_flops_term(self):
        """A filter of conv does 2 positions * 2 inputs = 4 MACs and 2 additions of a bias: 2 * (4 + 2) = 12 FLOPs."""
        plain = values(self.model(), (self.x, self.y), "conv", kt.criteria.Taylor())
        regularised = values(self.model(), (self.x, self.y), "conv", kt.criteria.Taylor(flops=1e3))
        np.testing.assert_allclose(plain - regularised, 1e3 * 2 * (4 + 2) / 1e6, rtol=1e-6)

    def test_the_default_is_the_gate_without_normalisation(self):
        scores = kt.score(self.model(), (self.x, self.y))
        assert scores.criterion == "taylor_gate"
        np.testing.assert_allclose(scores.by_layer()["conv"], [8 / 3, 23 / 3], rtol=1e-6)

    def test_sample_weights_by_hand(self):
        weight = np.array([1.0, 0.5, 2.0], "float32")
        found = values(self.model(), (self.x, self.y, weight), "conv")
        np.testing.assert_allclose(found, [(2 + 1 + 8) / 3, (5 + 5 + 16) / 3], rtol=1e-6)

    def test_the_settings_say_how_it_was_scored(self):
        settings = kt.score(self.model(), (self.x, self.y), criterion=EQ8, seed=4).settings
        expected = {"spatial": "mean", "aggregate": "eq8", "tied": "signed", "normalize": None, "flops": 0.0}
        expected |= {"examples": 3, "labels": "given", "seed": 4}
        assert settings == expected

    def test_relu_where_the_next_layer_reads(self):
        """Silencing acts on what the next layer reads: after the ReLU, negative activations contribute nothing."""
        model = self.model()
        inputs = keras.Input((2, 1, 2))
        x = layers.ReLU()(model.get_layer("conv")(inputs))
        clipped = keras.Model(inputs, model.get_layer("head")(layers.Flatten()(x)))
        clipped.compile("sgd", product_loss)
        # z after ReLU, example 1: (1, 2), (3, 0); example 2: (5, 3), (4, 1); example 3: (6, 0), (2, 4).
        channel2 = [2 * -2, 3 * -4 + 1 * 2, 4 * -1]
        found = values(clipped, (self.x, self.y), "conv")
        np.testing.assert_allclose(found, [8 / 3, np.abs(channel2).mean()], rtol=1e-6)


class TestTied:
    """Channels tied by an Add are silenced together: contributions of all members are summed before the absolute value."""

    def model(self, left, right):
        inputs = keras.Input((1,))
        a = layers.Dense(1, use_bias=False, name="a")(inputs)
        b = layers.Dense(1, use_bias=False, name="b")(inputs)
        heads = [layers.Dense(1, use_bias=False, name=name)(x) for name, x in (("on_a", a), ("on_b", b))]
        both = layers.Dense(1, use_bias=False, name="on_sum")(layers.Add()([a, b]))
        model = keras.Model(inputs, layers.Concatenate()([*heads, both]))
        for name, weight in (("a", 2.0), ("b", 3.0), ("on_a", left), ("on_b", right), ("on_sum", 1.0)):
            model.get_layer(name).set_weights([np.array([[weight]], "float32")])
        model.compile("sgd", product_loss)
        return model

    def test_signed_sum_over_members(self):
        """For x: read as `a = 2 x` with gradient 4, `b = 3 x` with gradient -5, their sum `5 x` with gradient 1."""
        x, y = np.array([[1.0], [-2.0]], "float32"), np.ones((2, 3), "float32")
        found = values(self.model(4.0, -5.0), (x, y), "a")
        signed = [abs(2 * n * 4 + 3 * n * -5 + 5 * n * 1) for n in (1, -2)]
        separate = [abs(2 * n * 4) + abs(3 * n * -5) + abs(5 * n * 1) for n in (1, -2)]
        np.testing.assert_allclose(found, np.mean(signed), rtol=1e-6)
        assert np.mean(separate) != pytest.approx(np.mean(signed))
        np.testing.assert_array_equal(found, values(self.model(4.0, -5.0), (x, y), "b"))

    def test_the_score_is_the_derivative_of_a_common_gate(self):
        """Silence both members a little: the loss changes at the rate of the score."""
        x, y = np.array([[1.0]], "float32"), np.ones((1, 3), "float32")
        model, step = self.model(4.0, -5.0), 1e-2

        def loss(gate):
            a, b = 2.0 * gate, 3.0 * gate
            return 4 * a - 5 * b + (a + b)

        slope = (loss(1 + step) - loss(1 - step)) / (2 * step)
        np.testing.assert_allclose(values(model, (x, y), "a"), [abs(slope)], rtol=1e-5)


def reference(model, x, y, loss, readers):
    """`sum over positions of z * g` per example, from activations and gradients that are stored as a whole.

    Args:
        readers: for each producer the operations whose inputs carry its channels.
    """
    graph = kt.trace(model)
    with tf.GradientTape(persistent=True) as tape:
        stored = {}

        def call(one, args, kwargs):
            if any(one.name in names for names in readers.values()):
                # A copy: only what this reader sees of the tensor counts, not what flows past it through the Add.
                stored[one.name] = tf.identity(args[0])
                args = (stored[one.name], *args[1:])
            return infer(one, args, kwargs)

        (prediction,) = graph.program.run([tf.constant(x)], call)
        total = tf.reduce_sum(loss(y, prediction))
    found = {}
    for producer, names in readers.items():
        per_example = 0.0
        for name in names:
            product = stored[name] * tape.gradient(total, stored[name])
            per_example += product.numpy().reshape(len(x), -1, product.shape[-1]).sum(axis=1)
        found[producer] = np.abs(per_example).mean(axis=0)
    return found


def test_against_stored_activations_and_gradients():
    """A residual net with BatchNormalization and random statistics. stem and outer are tied, and read in two places."""
    model = nets.compiled(nets.residual())
    x, y = nets.images(7, classes=3)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction=None)
    expected = reference(model, x, y, loss, {"stem": ["inner", "logits"], "inner": ["outer"]})
    scores = kt.score(model, x, y, criterion=GATE, batch_size=3)
    found = scores.by_layer()
    np.testing.assert_allclose(found["stem"], expected["stem"], rtol=1e-4)
    np.testing.assert_allclose(found["outer"], expected["stem"], rtol=1e-4)
    np.testing.assert_allclose(found["inner"], expected["inner"], rtol=1e-4)
    mean = kt.score(model, x, y, criterion=EQ8).by_layer()
    np.testing.assert_allclose(mean["inner"], expected["inner"] / (8 * 8), rtol=1e-4)
    l2 = kt.score(model, x, y, criterion="taylor").by_layer()
    np.testing.assert_allclose(l2["inner"], expected["inner"] / np.linalg.norm(expected["inner"]), rtol=1e-4)


def test_the_score_is_the_slope_of_the_loss_when_the_channel_is_scaled():
    """Scale what conv2 reads of one channel by 1 +- h: a central difference of each example's loss, in float64."""
    keras.config.set_dtype_policy("float64")
    try:
        model = nets.compiled(nets.chain())
    finally:
        keras.config.set_dtype_policy("float32")
    x, y = nets.images(4)
    x = x.astype("float64")

    def losses():
        logits = np.asarray(model(x, training=False))
        return np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(4), y]

    kernel, h = model.get_layer("conv2").kernel, 1e-5
    full = kernel.numpy()
    expected = []
    for channel in range(6):
        sides = []
        for gate in (1 + h, 1 - h):
            scaled = full.copy()
            scaled[:, :, channel] *= gate
            kernel.assign(scaled)
            sides.append(losses())
        expected.append(np.abs(sides[0] - sides[1]).mean() / (2 * h))
    kernel.assign(full)
    np.testing.assert_allclose(values(model, (x, y), "conv1"), expected, rtol=1e-4)


@pytest.fixture(scope="module")
def chain():
    return nets.compiled(nets.chain())


@pytest.fixture(scope="module")
def expected(chain):
    return kt.score(chain, nets.images(12)).values


class Batches(keras.utils.PyDataset):
    def __init__(self, x, y, **kwargs):
        super().__init__(**kwargs)
        self.x, self.y = x, y

    def __len__(self):
        return 3

    def __getitem__(self, i):
        return self.x[4 * i : 4 * i + 4], self.y[4 * i : 4 * i + 4]


X, Y = nets.images(12)
DATA = {
    "arrays": lambda: (X, Y),
    "a list": lambda: [X, Y],
    "tensors": lambda: (tf.constant(X), tf.constant(Y)),
    "tf.data": lambda: tf.data.Dataset.from_tensor_slices((X, Y)).batch(5),
    "a PyDataset": lambda: Batches(X, Y),
    "an iterable of batches": lambda: [(X[:7], Y[:7]), (X[7:], Y[7:])],
    "a generator": lambda: ((X[i : i + 6], Y[i : i + 6]) for i in (0, 6)),
    "ones as weights": lambda: (X, Y, np.ones(12, "float32")),
}


class TestData:
    @pytest.mark.parametrize("kind", DATA)
    def test_every_kind_gives_the_same_scores(self, kind, chain, expected):
        if kind in ("an iterable of batches",):
            data = iter(DATA[kind]())
        else:
            data = DATA[kind]()
        scores = kt.score(chain, data)
        np.testing.assert_allclose(scores.values, expected, rtol=1e-4, atol=1e-8)
        assert scores.settings["examples"] == 12

    @pytest.mark.parametrize("batch_size", [1, 5, 12, 100])
    def test_the_batch_size_does_not_matter(self, batch_size, chain, expected):
        found = kt.score(chain, (X, Y), batch_size=batch_size).values
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-8)

    def test_examples_limit_what_is_read(self, chain):
        limited = kt.score(chain, DATA["tf.data"](), examples=7)
        assert limited.settings["examples"] == 7
        np.testing.assert_allclose(limited.values, kt.score(chain, (X[:7], Y[:7])).values, rtol=1e-4, atol=1e-8)

    def test_examples_of_arrays_are_drawn_with_the_seed(self, chain):
        same = [kt.score(chain, (X, Y), examples=4, seed=1).values for _ in range(2)]
        np.testing.assert_array_equal(*same)
        assert not np.allclose(same[0], kt.score(chain, (X, Y), examples=4, seed=2).values)

    def test_a_weight_of_two_is_the_example_twice(self, chain):
        weight = np.array([1, 2, 0, 1, 3], "float32")
        weighted = kt.score(chain, (X[:5], Y[:5], weight)).values * 5
        rows = np.repeat(np.arange(5), weight.astype(int))
        repeated = kt.score(chain, (X[rows], Y[rows])).values * len(rows)
        np.testing.assert_allclose(weighted, repeated, rtol=1e-4, atol=1e-7)

    def test_class_weights_are_sample_weights(self, chain):
        by_class = kt.score(chain, (X, Y), class_weight={0: 0.5, 1: 3.0}).values
        by_sample = kt.score(chain, (X, Y, np.where(Y == 0, 0.5, 3.0).astype("float32"))).values
        np.testing.assert_allclose(by_class, by_sample, rtol=1e-5)

    def test_class_weights_of_one_hot_labels_multiply_sample_weights(self):
        model = nets.compiled(nets.chain(), keras.losses.CategoricalCrossentropy(from_logits=True))
        one_hot, weight = np.eye(2, dtype="float32")[Y], np.linspace(0.1, 2, 12).astype("float32")
        by_class = kt.score(model, (X, one_hot, weight), class_weight={1: 3.0}).values
        by_sample = kt.score(model, (X, one_hot, weight * np.where(Y == 0, 1.0, 3.0).astype("float32"))).values
        np.testing.assert_allclose(by_class, by_sample, rtol=1e-5)


class Custom(keras.Model):
    """Halves its loss."""

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        return 0.5 * keras.ops.mean(nets.CROSS_ENTROPY(y, y_pred))


def squared(y_true, y_pred):
    return keras.ops.mean(keras.ops.square(keras.ops.cast(y_true, y_pred.dtype) - y_pred), axis=-1)


class TestLoss:
    @pytest.mark.parametrize("reduction", ["sum", "sum_over_batch_size", "mean"])
    def test_reductions_do_not_matter(self, reduction, expected):
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction=reduction)
        model = nets.compiled(nets.chain(), loss)
        for batch_size in (12, 5):
            found = kt.score(model, (X, Y), batch_size=batch_size).values
            np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-8)

    def test_a_given_loss_needs_no_compilation(self, expected):
        model = nets.randomized(nets.chain())
        np.testing.assert_allclose(kt.score(model, (X, Y), loss=nets.CROSS_ENTROPY).values, expected, rtol=1e-4, atol=1e-8)

    def test_a_given_loss_goes_first(self, chain, expected):
        assert not np.allclose(kt.score(chain, (X, Y[:, None]), loss="mse").values, expected)

    def test_a_function_as_loss(self):
        target = np.random.default_rng(0).normal(size=(12, 2)).astype("float32")
        mine = kt.score(nets.compiled(nets.chain(), squared), (X, target)).values
        theirs = kt.score(nets.compiled(nets.chain(), "mse"), (X, target)).values
        np.testing.assert_allclose(mine, theirs, rtol=1e-4, atol=1e-8)

    def test_an_overridden_compute_loss(self, chain, expected):
        plain = nets.randomized(nets.chain())
        model = Custom(plain.inputs, plain.outputs)
        model.compile("sgd", "mse")
        np.testing.assert_allclose(kt.score(model, (X, Y)).values, expected / 2, rtol=1e-4, atol=1e-8)

    def test_loss_scaling_of_the_optimizer_does_not_matter(self, expected):
        model = nets.compiled(nets.chain(), optimizer=keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam()))
        np.testing.assert_allclose(kt.score(model, (X, Y)).values, expected, rtol=1e-4, atol=1e-8)


class TestSeveralOutputs:
    def model(self, as_dictionary=False):
        inputs = keras.Input((8, 8, 3), name="image")
        feed = {"image": inputs} if as_dictionary else None
        x = layers.Conv2D(5, 3, activation="relu", name="conv")(inputs)
        x = layers.GlobalAveragePooling2D()(x)
        return keras.Model(feed or inputs, {"kind": layers.Dense(2, name="kind")(x), "size": layers.Dense(1, name="size")(x)})

    labels = {"kind": Y, "size": np.linspace(-1, 1, 12).astype("float32")[:, None]}
    losses = {"kind": nets.CROSS_ENTROPY, "size": "mse"}

    def per_example(self, model, weights):
        """Signed contributions of each output, with a persistent tape."""
        x = model.get_layer("conv")(X)
        with tf.GradientTape(persistent=True) as tape:
            pooled = tf.reduce_mean(x, (1, 2))
            tape.watch(pooled)
            kind, size = model.get_layer("kind")(pooled), model.get_layer("size")(pooled)
            entropy = tf.nn.sparse_softmax_cross_entropy_with_logits(self.labels["kind"], kind)
            error = tf.reduce_mean((size - self.labels["size"]) ** 2, axis=-1)
        parts = [weights[0] * tape.gradient(entropy, pooled), weights[1] * tape.gradient(error, pooled)]
        return np.abs((pooled * (parts[0] + parts[1])).numpy()).mean(axis=0)

    def test_losses_by_name(self):
        model = nets.compiled(self.model(), self.losses)
        expected = self.per_example(model, (1.0, 1.0))
        np.testing.assert_allclose(values(model, (X, self.labels), "conv", batch_size=5), expected, rtol=1e-4)

    def test_loss_weights(self):
        model = nets.compiled(self.model(), self.losses, loss_weights={"kind": 0.25, "size": 2.0})
        expected = self.per_example(model, (0.25, 2.0))
        np.testing.assert_allclose(values(model, (X, self.labels), "conv"), expected, rtol=1e-4)

    def test_a_tf_data_set_of_dictionaries(self):
        model = nets.compiled(self.model(as_dictionary=True), self.losses)
        data = tf.data.Dataset.from_tensor_slices(({"image": X}, self.labels)).batch(4)
        np.testing.assert_allclose(values(model, data, "conv"), self.per_example(model, (1.0, 1.0)), rtol=1e-4)

    def test_mixed_reductions(self):
        """One loss is summed, the other averaged: as sums over examples both count alike."""
        losses = {"kind": keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction="sum"), "size": "mse"}
        model = nets.compiled(self.model(), losses)
        found = [values(model, (X, self.labels), "conv", batch_size=size) for size in (12, 4)]
        np.testing.assert_allclose(*found, rtol=1e-4)

    def test_several_inputs(self):
        a, b = keras.Input((4,), name="a"), keras.Input((3,), name="b")
        x = layers.Dense(5, name="on_a")(a) + layers.Dense(5, name="on_b")(b)
        model = nets.compiled(keras.Model({"a": a, "b": b}, layers.Dense(2, name="out")(x)))
        rng = np.random.default_rng(0)
        feed = {"a": rng.normal(size=(12, 4)).astype("float32"), "b": rng.normal(size=(12, 3)).astype("float32")}
        z = model.get_layer("on_a")(feed["a"]) + model.get_layer("on_b")(feed["b"])
        with tf.GradientTape() as tape:
            tape.watch(z)
            loss = tf.nn.sparse_softmax_cross_entropy_with_logits(Y, model.get_layer("out")(z))
        expected = np.abs((z * tape.gradient(loss, z)).numpy()).mean(axis=0)
        np.testing.assert_allclose(values(model, (feed, Y), "on_a"), expected, rtol=1e-4)


def test_mixed_precision_is_close_to_single_precision():
    single = nets.compiled(nets.residual())
    keras.config.set_dtype_policy("mixed_float16")
    try:
        half = nets.compiled(nets.residual())
        x, y = nets.images(8, classes=3)
        found = kt.score(half, (x, y)).values
    finally:
        keras.config.set_dtype_policy("float32")
    np.testing.assert_allclose(found, kt.score(single, (x, y)).values, rtol=0.02, atol=2e-4)


def test_a_nested_model_scores_like_the_flat_one():
    """The backbone is called with training=False, and has random statistics."""
    model = nets.compiled(nets.nested(training=False))
    x, y = nets.images(6)
    flat = kt.rebuild(model, kt.PruningPlan({}))
    np.testing.assert_allclose(kt.score(model, (x, y)).values, kt.score(flat, (x, y)).values, rtol=1e-4, atol=1e-8)


def test_positions_in_the_batch_axis_belong_to_their_example():
    """`reshape` folds rows into the batch: an example then owns several rows of what the next layer reads."""
    inputs = keras.Input((4, 3), name="rows")
    x = layers.Dense(5, name="first")(inputs)
    folded = layers.Dense(2, name="second")(keras.ops.reshape(x, (-1, 5)))
    model = nets.compiled(keras.Model(inputs, keras.ops.reshape(folded, (-1, 4, 2))), "mse")
    plain = layers.Dense(5, name="first")(inputs)
    twin = keras.Model(inputs, layers.Dense(2, name="second")(plain))
    twin.set_weights(model.get_weights())
    twin.compile("sgd", "mse")
    rng = np.random.default_rng(0)
    data = rng.normal(size=(6, 4, 3)).astype("float32"), rng.normal(size=(6, 4, 2)).astype("float32")
    np.testing.assert_allclose(values(model, data, "first"), values(twin, data, "first"), rtol=1e-4)


def test_scores_are_checked_and_printed():
    graph = kt.trace(nets.chain())
    scores = nets.random_scores(graph)
    text = str(scores)
    assert "given scores of chain" in text and "conv1" in text and "median" in text
    with pytest.raises(kt.errors.BadInput, match=r"values of Scores must have shape \(19,\)"):
        kt.Scores(graph, np.zeros(3))


def test_a_progress_bar_like_that_of_fit(chain, capsys):
    for verbose in (1, "auto"):
        kt.score(chain, X, Y, batch_size=4, verbose=verbose)
        assert "3/3" in capsys.readouterr().out
    kt.score(chain, X, Y, batch_size=4, verbose=0)
    assert not capsys.readouterr().out


class TestArguments:
    def test_arrays_as_fit_takes_them(self, chain, expected):
        np.testing.assert_allclose(kt.score(chain, X, Y).values, expected, rtol=1e-6)
        np.testing.assert_array_equal(kt.score(chain, x=X, y=Y).values, kt.score(chain, (X, Y)).values)

    def test_a_graph_stands_for_its_model(self, chain, monkeypatch):
        graph, plain = kt.trace(chain), {name: kt.score(chain, X, Y, criterion=name).values for name in ("taylor_gate", "l1")}
        monkeypatch.setattr("keras_taylor._trace.graph.trace", None)  # it is not traced again
        scores = kt.score(graph, X, Y)
        assert scores.graph is graph
        np.testing.assert_array_equal(scores.values, plain["taylor_gate"])
        np.testing.assert_array_equal(kt.score(graph, criterion="l1").values, plain["l1"])
        assert kt.oracle(graph, X[:4], Y[:4]).graph is graph
        assert kt.score_all(graph, X, Y, criteria=["l1", "taylor"])["taylor"].graph is graph
        assert any(isinstance(layer, kt.TaylorGate) for layer in kt.wrap(graph).layers)

    def test_the_old_name_of_x_works_for_a_release(self, chain, expected):
        for use in (kt.score, kt.oracle, lambda model, data: kt.score_all(model, data=data, criteria=["taylor_gate"])):
            with pytest.warns(DeprecationWarning, match=r"data= of \w+ is called x= now"):
                use(chain, data=(X[:4], Y[:4]))

    @pytest.mark.parametrize("option", ["taylor", GATE, kt.criteria.Taylor, ["taylor", "l1"], 7])
    def test_an_option_in_the_place_of_the_labels(self, chain, option):
        for use in (kt.score, kt.oracle, lambda *given: kt.score_all(*given, criteria=["taylor_gate"])):
            for data in (X, (X, Y), tf.data.Dataset.from_tensor_slices((X, Y)).batch(4)):
                with pytest.raises(kt.errors.BadInput, match=r"y must be labels: .*Options are passed by name: criterion="):
                    use(chain, data, option)

    def test_labels_where_they_cannot_be(self, chain):
        with pytest.raises(kt.errors.BadInput, match="y must be None where x is a data set"):
            kt.score(chain, tf.data.Dataset.from_tensor_slices((X, Y)).batch(4), Y)
        with pytest.raises(kt.errors.BadInput, match="x must be given where y is"):
            kt.score(chain, y=Y)
        with pytest.raises(kt.errors.BadInput, match=r"labels must be 'auto', 'given' or 'sampled'. Received: 'true'"):
            kt.score(chain, X, Y, labels="true")
        with pytest.raises(kt.errors.BadInput, match=r"draws must be a whole number of at least 1. Received: 0"):
            kt.score(chain, X, labels="sampled", draws=0)
        with pytest.raises(kt.errors.BadInput, match=r"batch_size must be a whole number of at least 1. Received: 2.5"):
            kt.score(chain, X, Y, batch_size=2.5)


class TestLabels:
    def test_those_that_are_there(self, chain, expected):
        scores = kt.score(chain, X, Y)
        assert scores.settings["labels"] == "given"
        np.testing.assert_array_equal(scores.values, kt.score(chain, X, Y, labels="given").values)

    @pytest.mark.parametrize("kind", ["arrays", "tf.data", "a generator"])
    def test_and_sampled_ones_where_there_are_none(self, kind, chain, expected):
        """A generator loses no batch to the look at its labels."""
        data = {
            "arrays": lambda: X,
            "tf.data": lambda: tf.data.Dataset.from_tensor_slices(X).batch(32),
            "a generator": lambda: iter([X]),
        }[kind]()
        scores = kt.score(chain, data, class_weight={0: 2.0})
        assert scores.settings["labels"] == "sampled" and scores.settings["examples"] == 12
        np.testing.assert_array_equal(scores.values, kt.score(chain, X, labels="sampled").values)
        assert not np.allclose(scores.values, expected)

    def test_a_criterion_that_looks_at_none(self, chain):
        found = kt.score_all(chain, X, criteria=["activation", "l1", "taylor"])
        assert [scores.settings["labels"] for scores in found.values()] == [None, None, "sampled"]
        assert [scores.settings["examples"] for scores in found.values()] == [12, 0, 12]
        np.testing.assert_array_equal(found["activation"].values, kt.score(chain, X, Y, criterion="activation").values)

    def test_a_criterion_that_draws_its_own(self, chain):
        found = kt.score_all(chain, X, Y, criteria=["obd", "obd_exact", "taylor2", "mutual_information"])
        assert [scores.settings["labels"] for scores in found.values()] == ["sampled", "given", "given", "given"]

    def test_batches_with_and_without(self, chain):
        with pytest.raises(kt.errors.BadInput, match="x must have labels"):
            kt.score(chain, iter([(X[:4], Y[:4]), (X[4:],)]))


class TestFiles:
    def test_saved_and_loaded(self, chain, tmp_path):
        scores = kt.score(chain, X, Y, seed=3)
        scores.save(tmp_path / "scores.json")
        for model in (chain, kt.trace(chain)):
            loaded = kt.Scores.load(tmp_path / "scores.json", model)
            np.testing.assert_array_equal(loaded.values, scores.values)
            assert loaded == scores and hash(loaded) == hash(scores)
            assert (loaded.criterion, loaded.settings, str(loaded)) == (scores.criterion, scores.settings, str(scores))
        assert kt.Scores.from_json(scores.to_json(), chain).to_json() == scores.to_json()
        assert scores != kt.score(chain, X, Y, seed=4) and scores != scores.absolute() and scores != 1
        assert "<table>" in scores._repr_html_() and "| conv1 |" in scores.render("markdown")

    def test_what_is_no_scores(self, chain, tmp_path):
        path = tmp_path / "scores.json"
        with pytest.raises(kt.errors.BadInput, match="Scores must be in a file that can be read"):
            kt.Scores.load(path, chain)
        good = kt.score(chain, criterion="l1").to_json()
        for text, message in (
            ("[]", r"Scores must be JSON as Scores.save writes it"),
            ('{"format": 1}', r"Scores must be JSON as Scores.save writes it. Received: KeyError\('fingerprint'\)"),
            (good.replace('"format": 1', '"format": 9'), r"The format of scores must be 1. Received: 9. Update keras_taylor"),
            (good.replace('"values": [', '"values": ["a", '), "values of Scores must be numbers"),
            (good.replace('"values": [', '"values": [1.0, '), "values of Scores must have shape"),
        ):
            path.write_text(text)
            with pytest.raises(kt.errors.BadInput, match=message):
                kt.Scores.load(path, chain)
