"""Every criterion on numbers that fit on a page. Two channels of one layer group, unless said otherwise."""

import keras
import numpy as np
import pytest

import keras_taylor as kt
from keras_taylor.criteria import Filters, Record
from tests import nets
from tests.criteria.test_criteria import record, scored

c = kt.criteria
BOTH = np.array([0, 1])


def test_activation_mean_and_deviation():
    """Examples with means (1, 4), (3, 4), (5, 1) and variances (0, 1), (1, 0), (2, 2) within, in two batches."""
    first = record(activation=[[1, 4], [3, 4]], variance=[[0, 1], [1, 0]])
    second = record(activation=[[5, 1]], variance=[[2, 2]])
    np.testing.assert_allclose(scored(c.Activation(), first, second), [(1 + 3 + 5) / 3, (4 + 4 + 1) / 3])
    within = np.array([3 / 3, 3 / 3])
    between = np.array([(4 + 0 + 4) / 3, (1 + 1 + 4) / 3])
    np.testing.assert_allclose(scored(c.ActivationStd(), first, second), np.sqrt(within + between))


def test_deviation_far_from_zero():
    rng = np.random.default_rng(0)
    values = 1e6 + 1e-2 * rng.normal(size=(40, 2))
    parts = [record(activation=values[i : i + 7], variance=np.zeros_like(values[i : i + 7])) for i in range(0, 40, 7)]
    np.testing.assert_allclose(scored(c.ActivationStd(), *parts), values.std(axis=0), rtol=1e-6)


def test_apoz_is_turned_around():
    found = scored(c.APoZ(), record(zeros=[[0.25, 1.0]]), record(zeros=[[0.75, 1.0], [0.5, 0.7]]))
    np.testing.assert_allclose(found, [1 - 1.5 / 3, 1 - 2.7 / 3])


def test_mutual_information():
    """Channel 0 tells the two classes apart (log 2); channel 1 halves both classes in the same way (nothing)."""
    found = scored(
        c.MutualInformation(bins=2),
        record(activation=[[1, 1], [2, 9]], labels=np.array([0, 0])),
        record(activation=[[8, 2], [9, 8]], labels=np.array([5, 5])),
    )
    np.testing.assert_allclose(found, [np.log(2), 0], atol=1e-12)


def test_mutual_information_of_a_dead_channel_is_nothing():
    found = scored(c.MutualInformation(), record(activation=[[0, 1], [0, 2], [0, 3]], labels=np.array([0, 1, 2])))
    np.testing.assert_allclose(found, [0, np.log(3)], atol=1e-12)


POSITIONS = (4, 2)
FIRST, SECOND = [[1, -2], [-3, 4]], [[2, 0]]


def test_taylor_of_jacobgil_is_signed_until_the_end():
    parts = record(FIRST, POSITIONS), record(SECOND, POSITIONS)
    np.testing.assert_allclose(scored(c.Taylor(aggregate="jacobgil"), *parts), [abs(1 - 3 + 2) / 4 / 3, abs(-2 + 4) / 2 / 3])


def test_taylor_of_nvlabs_normalises_each_batch():
    """Batch means of absolute values per position: (8 / 2 / 4, 6 / 2 / 2) and (4 / 4, 0); each over its own norm."""
    parts = record(None, POSITIONS, absolute_positions=[[3, 2], [5, 4]]), record(None, POSITIONS, absolute_positions=[[4, 0]])
    one, other = np.array([1.0, 1.5]), np.array([1.0, 0.0])
    expected = (one / np.sqrt(1 + 1.5**2) + other) / 2
    np.testing.assert_allclose(scored(c.Taylor(aggregate="nvlabs"), *parts), expected)
    assert c.Taylor(aggregate="nvlabs").normalize is None


def test_taylor_of_separate_members():
    found = scored(c.Taylor("sum", tied="absolute"), record(absolute_members=[[3, 2], [5, 4]]))
    np.testing.assert_allclose(found, [4, 3])


def test_options_that_do_not_go_together():
    with pytest.raises(kt.errors.BadInput, match=r"tied of Taylor must be 'signed'. Received: 'absolute'"):
        c.Taylor(aggregate="nvlabs", tied="absolute")
    with pytest.raises(kt.errors.BadInput, match=r"curvature of Taylor2 must be 'gauss_newton' or 'fisher' or 'hutchinson'"):
        c.Taylor2("empirical_fisher")
    with pytest.raises(
        kt.errors.BadInput, match=r"bins of MutualInformation must be a whole number of at least 2. Received: 1"
    ):
        c.MutualInformation(bins=1)
    with pytest.raises(kt.errors.BadInput, match=r"weight of Blend must be a number of at least 0. Received: -1"):
        c.Blend(-1)
    with pytest.raises(kt.errors.BadInput, match=r"members of L1 must be 'filters' or 'group'. Received: 'all'"):
        c.L1(members="all")


def test_taylor_2019_squares_the_mean_of_each_batch():
    """Batch means (-1, 1) and (2, 0)."""
    found = scored(c.Taylor2019(), record(FIRST), record(SECOND))
    np.testing.assert_allclose(found, [(1 + 4) / 2, (1 + 0) / 2])


@pytest.mark.parametrize("curvature", ["gauss_newton", "fisher", "hutchinson"])
def test_second_order(curvature):
    """h/2 is (1, 2), (3, 0), (0, 1); minus c: (0, 4), (6, -4), (-2, 1)."""
    bends = [[2, 4], [6, 0]], [[0, 2]]
    parts = [record(slope, **{curvature: bend}) for slope, bend in zip((FIRST, SECOND), bends, strict=True)]
    np.testing.assert_allclose(scored(c.OBD(curvature), *parts), [(1 + 3 + 0) / 3, (2 + 0 + 1) / 3])
    np.testing.assert_allclose(scored(c.Taylor2(curvature, absolute="mean"), *parts), [abs(0 + 6 - 2) / 3, abs(4 - 4 + 1) / 3])
    np.testing.assert_allclose(scored(c.Taylor2(curvature), *parts), [(0 + 6 + 2) / 3, (4 + 4 + 1) / 3])


def test_taylor_of_logits_averages_changes():
    """Changes 1 and -3 of channel 0, and 2 and 2 of channel 1."""
    part = record(linear_change=[[1, 2], [-3, 2]])
    np.testing.assert_allclose(scored(c.TaylorLogits(), part), [2, 2])
    np.testing.assert_allclose(scored(c.TaylorLogits("mean"), part), [1, 2])


@pytest.mark.parametrize("activation", [None, "softmax"])
def test_taylor_of_logits_is_the_oracle_of_a_linear_net(activation):
    """Two positions and two members for each channel; class weights, and batches that do not divide the examples."""
    inputs = keras.Input((4, 3))
    x = keras.layers.Conv1D(5, 1, name="conv")(inputs)
    x = keras.layers.add([keras.layers.Conv1D(6, 2, name="a")(x), keras.layers.Conv1D(6, 2, name="b")(x)])
    model = keras.Model(inputs, keras.layers.Dense(3, activation)(keras.layers.GlobalAveragePooling1D()(x)))
    model.compile(loss=keras.losses.SparseCategoricalCrossentropy(from_logits=activation is None))
    rng = np.random.default_rng(0)
    data = rng.normal(size=(11, 4, 3)).astype("float32"), rng.integers(0, 3, 11)
    options = {"batch_size": 4, "class_weight": {0: 2.0, 1: 1.0, 2: 0.5}, "verbose": 0}
    found = kt.score(model, data, criterion=c.TaylorLogits("mean"), **options)
    truth = kt.oracle(model, data, **options)
    measured = truth.graph.locks == ""
    np.testing.assert_allclose(found.values[measured], truth.absolute().values[measured], rtol=1e-3, atol=1e-6)


def test_taylor_of_logits_needs_labels():
    model = nets.compiled(nets.chain())
    with pytest.raises(kt.errors.BadInput, match="'given' for criterion 'taylor_logits'"):
        kt.score(model, nets.images()[0], criterion="taylor_logits", labels="sampled")


def test_the_empirical_fisher_is_taylor_squared():
    found = scored(c.OBD("empirical_fisher"), record(FIRST), record(SECOND))
    np.testing.assert_allclose(found, [(1 + 9 + 4) / 2 / 3, (4 + 16 + 0) / 2 / 3])


KERNEL = Filters(np.array([[1.0, -2.0], [-3.0, 0.0]]), BOTH)
READER = Filters(np.array([[2.0, 1.0]]), BOTH[::-1])
SCALE = Filters(np.array([[0.5, -3.0]]), BOTH)


def weights(*names):
    given = {"filters": (KERNEL,), "readers": (READER,), "scales": (SCALE,)}
    return record(**{name: given[name] for name in names or given})


def test_norms():
    filters = weights("filters")
    np.testing.assert_allclose(scored(c.L1(), filters), [1 + 3, 2])
    np.testing.assert_allclose(scored(c.L2(), filters), [np.sqrt(1 + 9), 2])
    np.testing.assert_allclose(scored(c.L1("group"), weights()), [4 + 0.5 + 1, 2 + 3 + 2])
    np.testing.assert_allclose(scored(c.L2("group", root=False), weights()), [10 + 0.25 + 1, 4 + 9 + 4])


def test_fpgm_sums_distances():
    """Filters (0, 0), (3, 4), (0, 1): distances 5, 1 and sqrt(9 + 9)."""
    kernel = Filters(np.array([[0.0, 3.0, 0.0], [0.0, 4.0, 1.0]]), np.arange(3))
    found = c.FPGM().update(np.zeros(3), Record(3, np.ones(3), [np.arange(3)], {"filters": (kernel,)}))
    np.testing.assert_allclose(found, [5 + 1, 5 + np.sqrt(18), 1 + np.sqrt(18)])


def test_lamp_is_a_share_of_what_is_left():
    """Squares 1, 4, 9 of one layer and 16 of another: 1/14, 4/13, 9/9, 16/16."""
    kernel = Filters(np.array([[1.0, 2.0, 3.0, 4.0]]), np.arange(4))
    one = Record(4, np.ones(4), [np.arange(3), np.array([3])], {"filters": (kernel,)})
    criterion = c.LAMP()
    state = criterion.update(criterion.init(4, np.random.default_rng(0)), one)
    np.testing.assert_allclose(criterion.result(state), [1 / 14, 4 / 13, 1, 1])


def test_batch_norm_scale_is_a_mean_over_norms():
    second = Filters(np.array([[-2.0]]), np.array([0]))
    np.testing.assert_allclose(scored(c.BatchNormScale(), record(scales=(SCALE, second))), [(0.5 + 2) / 2, 3])
    assert np.isnan(scored(c.BatchNormScale(), record(scales=(second,)))[1])


def test_normalisation_by_the_mean():
    """Torch-Pruning divides by the mean of the layer."""
    model = nets.randomized(nets.residual())
    found, plain = (kt.score(model, criterion=c.L1(normalize=how)).by_layer()["inner"] for how in ("mean", None))
    np.testing.assert_allclose(found, plain / plain.mean())


class TestBlend:
    parts = record([[3, -4]], activation=[[5, 12]]), record([[3, 4]], activation=[[5, 12]])

    @pytest.mark.parametrize("weight", [0.0, 0.5, np.inf])
    def test_both_are_normalised(self, weight):
        """Taylor (3, 4) / 5 and activation (5, 12) / 13."""
        taylor, activation = np.array([3, 4]) / 5, np.array([5, 12]) / 13
        expected = activation if np.isinf(weight) else taylor + weight * activation
        np.testing.assert_allclose(scored(c.Blend(weight), *self.parts), expected)

    def test_weights_are_measured_once(self):
        """L1 norms (4, 2), not twice that: the part that needs no data is updated once."""
        blend = c.Blend(1.0, "taylor", c.L1(normalize=None))
        parts = [record(one.contribution, filters=(KERNEL,)) for one in self.parts]
        np.testing.assert_allclose(scored(blend, *parts), np.array([3, 4]) / 5 + np.array([4, 2]) / np.sqrt(20))

    def test_of_a_model(self):
        model, data = nets.compiled(nets.chain()), nets.images(6)
        found = kt.score_all(model, data, criteria=["taylor", "activation", c.Blend(0.1)], batch_size=4, verbose=0)
        taylor, activation, both = (found[name] for name in ("taylor", "activation", "blend"))
        np.testing.assert_allclose(both.values, taylor.values + 0.1 * activation.values, rtol=1e-6)
        mixed = kt.score(model, data, criterion=c.Blend(1.0, "taylor", "magnitude"), batch_size=4, verbose=0)
        np.testing.assert_allclose(mixed.values, taylor.values + kt.score(model, criterion="magnitude").values, rtol=1e-5)


def test_weights_of_a_model_belong_to_their_channels():
    """`inner` reads the stem; its own channels are read by `outer`. BatchNorm scales the tied channels twice."""
    model = nets.randomized(nets.residual())
    kernels = {name: np.abs(model.get_layer(name).kernel.numpy()) for name in ("stem", "inner", "outer", "logits")}
    gammas = [np.abs(model.get_layer(name).gamma.numpy()) for name in ("stem_bn", "outer_bn")]
    found = kt.score(model, criterion=c.L1("group", normalize=None)).by_layer()
    np.testing.assert_allclose(found["inner"], kernels["inner"].sum((0, 1, 2)) + kernels["outer"].sum((0, 1, 3)), rtol=1e-5)
    tied = sum(kernels[name].sum((0, 1, 2)) for name in ("stem", "outer")) + sum(gammas)
    tied = tied + kernels["inner"].sum((0, 1, 3)) + kernels["logits"].sum(1)
    np.testing.assert_allclose(found["stem"], tied, rtol=1e-5)


def test_batch_norm_scale_of_a_model():
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.BatchNormalization(name="bn")(keras.layers.Conv2D(4, 3, name="conv")(inputs))
    model = nets.randomized(keras.Model(inputs, keras.layers.Dense(2)(keras.layers.GlobalAveragePooling2D()(x))))
    found = kt.score(model, criterion="bn_scale").by_layer()["conv"]
    np.testing.assert_allclose(found, np.abs(model.get_layer("bn").gamma.numpy()), rtol=1e-6)
