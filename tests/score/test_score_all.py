"""Many criteria in one pass: statistics against stored activations and numerical derivatives."""

import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_taylor as kt
from keras_taylor._keras.losses import objectives
from keras_taylor._record.recorder import Recorder
from keras_taylor._trace.graph import trace
from keras_taylor._trace.read_sites import ReadSites
from tests import nets

layers = keras.layers
EVERYTHING = sorted(set(kt.criteria.registered()) - {"bn_scale"})


def statistics(model, data, *needs, loss=None, draws=1, weight=None):
    """The statistics of one batch."""
    graph = trace(model)
    return Recorder(graph, frozenset(needs), objectives(model, loss), draws=draws)(*data, weight)


def gated_loss(graph, data, gates):
    """The summed loss with the channels multiplied where they are read; `gates` has shape `(channels,)`."""
    sites, (x, y) = ReadSites(graph), data

    def call(step, args, kwargs):
        site = sites.by_call.get(id(step))
        if site is not None:
            shape = [1] * len(args[0].shape)
            shape[site.axis] = -1
            args = (args[0] * tf.reshape(tf.gather(gates, site.channels), shape), *args[1:])
        return step.operation(*args, **kwargs)

    (out,) = graph.program.run([tf.cast(x, tf.float64)], call)
    return tf.reduce_sum(tf.nn.sparse_softmax_cross_entropy_with_logits(y, out))


def doubled(build, **options):
    """The same net in float64, where numerical derivatives are exact enough."""
    keras.config.set_dtype_policy("float64")
    try:
        return nets.randomized(build(**options))
    finally:
        keras.config.set_dtype_policy("float32")


def branched():
    """Residual, concatenation, a shared layer and flattened positions, piecewise linear."""
    x = inputs = keras.Input((4, 4, 2))
    x = layers.Conv2D(3, 3, padding="same", activation="relu", name="stem")(x)
    twice = layers.Conv2D(3, 1, activation="relu", name="twice")
    x = layers.Add()([twice(twice(x)), x])
    y = layers.Conv2D(2, 3, padding="same", name="side")(x)
    x = layers.Concatenate()([x, layers.LeakyReLU()(layers.BatchNormalization()(y))])
    x = layers.Flatten()(layers.MaxPooling2D()(x))
    return keras.Model(inputs, layers.Dense(3, name="logits")(x))


def parallel():
    """Tied channels, a shared layer, concatenation and flattened positions; no channel is read twice on one path."""
    x = inputs = keras.Input((4, 4, 2))
    x = layers.Conv2D(3, 3, padding="same", activation="relu", name="stem")(x)
    left = layers.BatchNormalization()(layers.Conv2D(3, 3, padding="same", name="left")(x))
    right = layers.LeakyReLU()(layers.Conv2D(3, 1, name="right")(x))
    shared = layers.Conv2D(2, 1, activation="relu", name="shared")
    x = layers.Concatenate()([shared(layers.ReLU()(layers.Add()([left, right]))), shared(right)])
    return keras.Model(inputs, layers.Dense(3, name="logits")(layers.Flatten()(layers.MaxPooling2D()(x))))


def numerical(model, data, step=1e-4):
    """Gradient and diagonal of the Hessian with respect to the gates, of the loss on the data."""

    graph = trace(model)
    compiled = tf.function(lambda gates: gated_loss(graph, data, gates))

    def loss(gates):
        return float(compiled(tf.constant(gates)))

    count = graph.channels
    middle, slopes, bends = loss(np.ones(count)), [], []
    for channel in range(count):
        up, down = np.ones(count), np.ones(count)
        up[channel] += step
        down[channel] -= step
        above, below = loss(up), loss(down)
        slopes.append((above - below) / (2 * step))
        bends.append((above - 2 * middle + below) / step**2)
    return np.array(slopes), np.array(bends)


class TestCurvature:
    def data(self, classes=3):
        return nets.images(3, classes=classes, shape=(4, 4, 2))

    @pytest.mark.parametrize("softmax", [False, True])
    def test_gauss_newton_is_the_second_derivative_of_a_net_with_relus(self, softmax):
        twin, model = doubled(parallel), parallel()
        model.set_weights(twin.get_weights())
        loss = nets.CROSS_ENTROPY
        if softmax:
            model = keras.Model(model.inputs, layers.Softmax()(model.outputs[0]))
            loss = keras.losses.SparseCategoricalCrossentropy()
        found = statistics(model, self.data(), "gauss_newton", "contribution", loss=loss)
        slopes, bends = numerical(twin, self.data())
        graph, small = trace(twin), trace(model)
        for name in ("stem", "left", "right", "shared"):
            mine, theirs = (nets.producer_channels(g, name) for g in (small, graph))
            np.testing.assert_allclose(found.contribution.sum(0)[mine], slopes[theirs], rtol=1e-3, atol=1e-5)
            np.testing.assert_allclose(found.gauss_newton.sum(0)[mine], bends[theirs], rtol=1e-3, atol=1e-4)
            assert (bends[theirs] > 1e-3).any()

    def test_hutchinson_is_the_second_derivative_of_any_net_in_the_mean(self):
        def bent():
            x = inputs = keras.Input((4, 4, 2))
            x = layers.Conv2D(3, 3, activation="gelu", name="conv")(x)
            x = layers.Conv2D(2, 2, activation="sigmoid", name="next")(x)
            return keras.Model(inputs, layers.Dense(3)(layers.Flatten()(x)))

        twin, model = doubled(bent), bent()
        model.set_weights(twin.get_weights())
        found = statistics(model, self.data(), "hutchinson", loss=nets.CROSS_ENTROPY, draws=400).hutchinson
        _, bends = numerical(twin, self.data())
        assert np.abs(found.sum(0) - bends).max() < 0.15 * np.abs(bends).max()
        exact = statistics(model, self.data(), "gauss_newton", loss=nets.CROSS_ENTROPY).gauss_newton
        assert np.abs(exact.sum(0) - bends).max() > 0.15 * np.abs(bends).max()

    def test_fisher_is_gauss_newton_in_the_mean_over_draws(self):
        model, (x, y) = nets.compiled(branched()), self.data()
        found = statistics(model, (np.repeat(x, 500, 0), np.repeat(y, 500, 0)), "fisher", "gauss_newton", draws=2)
        fisher, exact = (getattr(found, name).reshape(3, 500, -1).mean(1) for name in ("fisher", "gauss_newton"))
        assert np.abs(fisher - exact).max() < 0.1 * exact.max()

    def test_several_sigmoids(self):
        """A sigmoid output u contributes p (1 - p) (d logit/d gate)^2; Keras averages over the outputs."""
        inputs = keras.Input((2,))
        x = layers.Dense(2, use_bias=False, name="hidden")(inputs)
        model = keras.Model(inputs, layers.Dense(2, use_bias=False, activation="sigmoid", name="out")(x))
        model.get_layer("hidden").set_weights([np.array([[1.0, 2.0], [0.5, -1.0]], "float32")])
        model.get_layer("out").set_weights([np.array([[1.0, -1.0], [0.5, 0.25]], "float32")])
        model.compile(loss="binary_crossentropy")
        z = np.array([2 * 1 + 1 * 0.5, 2 * 2 + 1 * -1.0])
        p = 1 / (1 + np.exp(-z @ [[1.0, -1.0], [0.5, 0.25]]))
        slopes = z[:, None] * np.array([[1.0, -1.0], [0.5, 0.25]])
        expected = (slopes**2 * p * (1 - p)).sum(1) / 2
        data = np.full((4000, 2), [2.0, 1.0], "float32"), np.full((4000, 2), [1.0, 0.0], "float32")
        found = statistics(model, data, "gauss_newton", "fisher")
        hidden = nets.producer_channels(trace(model), "hidden")
        np.testing.assert_allclose(found.gauss_newton[0, hidden], expected, rtol=1e-4)
        # Drawn labels know nothing of the mean over the two outputs.
        np.testing.assert_allclose(found.fisher.mean(0)[hidden], 2 * expected, rtol=0.1)

    def test_squared_errors(self):
        """Half of d2/dg2 of mean((g z w - y)^2) over two outputs: (z w)^2 summed, over 2 outputs, times sample weight 3."""
        inputs = keras.Input((1,))
        x = layers.Dense(1, use_bias=False, kernel_initializer="ones", name="hidden")(inputs)
        out = layers.Dense(2, use_bias=False, name="out")
        model = keras.Model(inputs, out(x))
        out.set_weights([np.array([[2.0, 3.0]], "float32")])
        model.compile(loss="mse")
        data = np.array([[5.0]], "float32"), np.zeros((1, 2), "float32")
        found = statistics(model, data, "gauss_newton", weight=np.array([3.0], "float32")).gauss_newton
        hidden = nets.producer_channels(trace(model), "hidden")
        np.testing.assert_allclose(found[0, hidden], 3 * ((5 * 2) ** 2 + (5 * 3) ** 2), rtol=1e-5)

    def test_sample_weights_scale_the_fisher_information(self):
        model, data = nets.compiled(branched()), self.data()
        weight = np.array([1.0, 0.0, 4.0], "float32")
        plain, weighed = (statistics(model, data, "fisher", weight=w).fisher for w in (None, weight))
        np.testing.assert_allclose(weighed, plain * weight[:, None], rtol=1e-4)

    def test_half_precision_is_close(self):
        found = []
        for policy in ("float32", "mixed_float16"):
            keras.config.set_dtype_policy(policy)
            try:
                model = nets.compiled(branched())
            finally:
                keras.config.set_dtype_policy("float32")
            found.append(statistics(model, self.data(), "gauss_newton", "hutchinson", draws=1))
        for name in ("gauss_newton", "hutchinson"):
            a, b = (getattr(one, name) for one in found)
            np.testing.assert_allclose(a, b, rtol=0.05, atol=0.01 * np.abs(a).max())


class TestActivations:
    def test_they_are_those_that_are_read(self):
        """Behind the ReLU; the stem is read twice by the shared layer's first call and in the sum, the sum after Flatten."""
        model = nets.compiled(nets.residual())
        x, y = nets.images(5, classes=3)
        found = statistics(model, (x, y), "activation", "variance", "zeros", "contribution")
        graph = trace(model)
        inner = model.get_layer("inner")(model.get_layer("stem_relu").output)
        values = keras.Model(model.inputs, inner).predict(x, verbose=0)
        channels = nets.producer_channels(graph, "inner")
        np.testing.assert_allclose(found.activation[:, channels], values.mean((1, 2)), rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(found.variance[:, channels], values.var((1, 2)), rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(found.zeros[:, channels], (values == 0).mean((1, 2)), rtol=1e-5)
        # The tied channels are read by `inner` (64 positions) and, pooled, by the logits (one position).
        stem = keras.Model(model.inputs, [model.get_layer("stem_relu").output, model.get_layer("pool").output])
        a, b = stem.predict(x, verbose=0)
        both = np.concatenate([a.reshape(5, 64, 6), b[:, None]], axis=1)
        channels = nets.producer_channels(graph, "stem")
        np.testing.assert_allclose(found.activation[:, channels], both.mean(1), rtol=1e-4)
        np.testing.assert_allclose(found.variance[:, channels], both.var(1), rtol=1e-3, atol=1e-6)

    def test_flattened_positions_belong_to_their_channel(self):
        inputs = keras.Input((4, 4, 3))
        x = layers.Conv2D(2, 3, activation="relu", name="conv")(inputs)
        model = nets.compiled(keras.Model(inputs, layers.Dense(3, name="logits")(layers.Flatten()(x))))
        data = nets.images(4, classes=3, shape=(4, 4, 3))
        found = statistics(model, data, "activation", "variance", "absolute_members", "contribution", "absolute_positions")
        values = model.get_layer("conv")(data[0]).numpy()
        channels = nets.producer_channels(trace(model), "conv")
        np.testing.assert_allclose(found.activation[:, channels], values.mean((1, 2)), rtol=1e-5)
        np.testing.assert_allclose(found.variance[:, channels], values.var((1, 2)), rtol=1e-4, atol=1e-7)
        # One site, so one member; its positions have gradients of both signs.
        np.testing.assert_allclose(found.absolute_members, np.abs(found.contribution), rtol=1e-5)
        assert (found.absolute_positions[:, channels] > 1.01 * found.absolute_members[:, channels]).any()

    def test_no_labels_are_needed(self):
        model, (x, _) = nets.randomized(nets.chain()), nets.images(4)
        for name in ("activation", "activation_std", "apoz"):
            assert (kt.score(model, x, criterion=name).by_layer()["conv1"] > 0).all()


def test_all_together_are_what_each_is_alone():
    model, data = nets.compiled(parallel()), nets.images(10, classes=3, shape=(4, 4, 2))
    together = kt.score_all(model, data, criteria=EVERYTHING, batch_size=4, seed=3)
    assert list(together) == [scores.criterion for scores in together.values()] == EVERYTHING
    for name, scores in together.items():
        alone = kt.score(model, data, criterion=name, batch_size=4, seed=3)
        np.testing.assert_allclose(scores.values, alone.values, rtol=1e-5, atol=1e-7, err_msg=name)
        assert scores.settings == alone.settings


def test_only_what_is_needed_is_recorded(monkeypatch):
    seen = []
    monkeypatch.setattr(kt.criteria.Taylor, "each", lambda self, one: seen.append(set(one.statistics)) or one.contribution)
    kt.score(nets.compiled(nets.chain()), nets.images(4))
    assert seen == [{"contribution"}]


def test_tied_members_with_and_without_sign():
    """The stem is read by `inner` and by the logits: separately |c1| + |c2|, together |c1 + c2|."""
    model, data = nets.compiled(nets.residual()), nets.images(6, classes=3)
    criteria = {tied: kt.criteria.Taylor(normalize=None, tied=tied) for tied in ("signed", "absolute")}
    signed, absolute = kt.score_all(model, data, criteria=criteria).values()
    assert (absolute.values >= signed.values - 1e-7).all()
    np.testing.assert_allclose(absolute.by_layer()["inner"], signed.by_layer()["inner"], rtol=1e-5)
    assert (absolute.by_layer()["stem"] > 1.001 * signed.by_layer()["stem"]).any()


class TestWarnings:
    def bent(self, *names):
        inputs = keras.Input((4, 4, 2))
        x = layers.Conv2D(3, 3, activation=names[0], name="conv")(inputs)
        x = layers.Activation(names[1], name="act")(layers.Conv2D(2, 1)(x))
        x = layers.Multiply(name="product")([x, x]) if names[2:] else x
        return nets.compiled(keras.Model(inputs, layers.Dense(3, name="logits")(layers.Flatten()(x))))

    data = nets.images(2, classes=3, shape=(4, 4, 2))

    def test_layers_that_bend_are_named(self):
        with pytest.warns(UserWarning, match=r"piecewise linear.*conv \(Conv2D\), act \(Activation\), product \(Multiply\)"):
            kt.score(self.bent("gelu", "silu", "product"), self.data, criterion="obd_exact")

    def test_training_batch_norm_is_named(self):
        inputs = keras.Input((4, 4, 2))
        x = layers.BatchNormalization(name="live")(layers.Conv2D(3, 3, name="conv")(inputs), training=True)
        model = nets.compiled(keras.Model(inputs, layers.Dense(3)(layers.Flatten()(x))))
        with pytest.warns(UserWarning, match=r"It is not in live \(BatchNormalization\)"):
            kt.score(model, self.data, criterion="obd_exact")

    @pytest.mark.parametrize("final", [None, "softmax"])
    def test_straight_nets_are_not(self, final):
        net = parallel()
        if final:
            net = keras.Model(net.inputs, layers.Activation(final)(net.outputs[0]))
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=final is None)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            kt.score(nets.compiled(net, loss), self.data, criterion="obd_exact")

    def test_channels_that_are_read_again_are_named(self):
        """With a gate at two depths of one path the logits are quadratic in it, so Gauss-Newton is not all."""
        twin, model = doubled(branched), branched()
        model.set_weights(twin.get_weights())
        with pytest.warns(UserWarning, match=r"read once on each path. Received: .*in stem \+ 1 tied\. There"):
            kt.score(model, self.data, criterion="obd_exact", loss=nets.CROSS_ENTROPY)
        exact = statistics(model, self.data, "gauss_newton", loss=nets.CROSS_ENTROPY).gauss_newton.sum(0)
        _, bends = numerical(twin, self.data)
        tied, free = (nets.producer_channels(trace(model), name) for name in ("stem", "side"))
        there, here = (nets.producer_channels(trace(twin), name) for name in ("stem", "side"))
        np.testing.assert_allclose(exact[free], bends[here], rtol=1e-3, atol=1e-4)
        assert np.abs(exact[tied] - bends[there]).max() > 0.1 * np.abs(bends[there]).max()

    def test_attention_is_named(self):
        inputs = keras.Input((4, 6))
        x = layers.MultiHeadAttention(2, 3, name="attend")(inputs, inputs)
        model = nets.compiled(keras.Model(inputs, layers.Dense(3)(layers.GlobalAveragePooling1D()(x))))
        with pytest.warns(UserWarning, match=r"attend \(MultiHeadAttention\)"):
            kt.score(model, nets.images(2, classes=3, shape=(4, 6)), criterion="obd_exact")

    def test_a_fisher_information_of_regression(self):
        model = nets.compiled(nets.chain(), "mse")
        with pytest.warns(UserWarning, match=r"Gaussian with unit variance. Received: outputs that are gaussian"):
            kt.score(model, (nets.images(4)[0], np.zeros((4, 2), "float32")), criterion="obd")


class TestBadInput:
    def test_no_data(self):
        for name in ("apoz", "obd", "mutual_information", "blend"):
            with pytest.raises(kt.errors.BadInput, match=rf"x must be given for criterion '{name}'. Received: None"):
                kt.score_all(nets.compiled(nets.chain()), criteria=["l1", name])

    def test_no_criteria(self):
        for criteria in ([], "taylor", {}, None):
            with pytest.raises(kt.errors.BadInput, match="criteria of score_all must be a list of criteria"):
                kt.score_all(nets.chain(), criteria=criteria)

    def test_two_criteria_of_one_name(self):
        with pytest.raises(
            kt.errors.BadInput, match=r"must have different names. Received: 'l1' more than once. Pass a mapping"
        ):
            kt.score_all(nets.chain(), criteria=["l1", kt.criteria.L1("group")])
        both = kt.score_all(nets.randomized(nets.chain()), criteria={"filters": "l1", "group": kt.criteria.L1("group")})
        assert list(both) == ["filters", "group"] and {scores.criterion for scores in both.values()} == {"l1"}
        assert not np.allclose(both["filters"].values, both["group"].values)

    def test_one_criterion_under_two_labels(self):
        model, data, one = nets.compiled(nets.chain()), nets.images(4), kt.criteria.Taylor()
        twice = kt.score_all(model, *data, criteria={"a": one, "b": one})
        np.testing.assert_array_equal(twice["a"].values, twice["b"].values)
        np.testing.assert_array_equal(twice["a"].values, kt.score(model, *data, criterion=one).values)

    def test_labels_that_are_no_classes(self):
        model, (x, _) = nets.compiled(nets.chain(), "mse"), nets.images(4)
        with pytest.raises(kt.errors.BadInput, match="y must have one class per example"):
            kt.score(model, (x, np.zeros((4, 2, 1), "float32")), criterion="mutual_information")
        with pytest.raises(kt.errors.BadInput, match="y must have one class per example"):
            kt.score(model, x, criterion="mutual_information")
        with pytest.raises(kt.errors.BadInput, match="y must have one class per example"):
            kt.score(model, x, criterion="mutual_information", labels="sampled")

    def test_a_net_without_scales(self):
        with pytest.raises(
            kt.errors.BadInput, match=r"'bn_scale' must have something to look at.*Received: none in conv1, conv2"
        ):
            kt.score(nets.chain(), criterion="bn_scale")

    def test_a_statistic_that_is_not_named(self):
        class Curious(kt.Criterion):
            needs = frozenset({"activation"})

            def init(self, channels, rng):
                return np.zeros(channels)

            def update(self, state, record):
                return state + record.contribution.sum(axis=0)

        with pytest.raises(kt.errors.BadInput, match=r"must name in `needs` what it looks at. Received: 'contribution'"):
            kt.testing.check_criterion(Curious())

    def test_needs_that_do_not_exist(self):
        with pytest.raises(kt.errors.BadInput, match=r"needs of a criterion must be among .*Received: \['colour'\]"):
            kt.register_criterion("colourful")(type("Colourful", (kt.Criterion,), {"needs": frozenset({"colour"})}))

    @pytest.mark.parametrize("name", ["taylor", "activation", "obd", "obd_exact", "obd_hutchinson"])
    def test_statistics_that_are_not_finite(self, name):
        """The third batch overflows; nothing is wrong with the weights."""
        inputs = keras.Input((3,))
        x = layers.Dense(3, name="first", kernel_initializer="ones")(inputs)
        x = layers.Dense(3, name="second", kernel_initializer="ones")(keras.ops.exp(x))
        model = keras.Model(inputs, layers.Dense(2, name="logits")(x))
        model.compile(loss=nets.CROSS_ENTROPY)
        x = np.zeros((6, 3), "float32")
        x[5] = 100.0
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with pytest.raises(
                kt.errors.NonFiniteScores, match=r"must be finite. Received: NaN or infinity in .*second.*batch 2"
            ):
                kt.score(model, x, np.zeros(6), criterion=name, batch_size=2)
