"""The criteria by themselves: numbers by hand, the contract, options."""

import dataclasses

import keras
import numpy as np
import pytest

import keras_taylor as kt
from keras_taylor.criteria import Filters, Record, _base, registered
from tests import nets
from tests.layout import PACKAGE, imported, modules

GROUPS = (np.array([0, 1]),)


def record(contribution=None, positions=(1.0, 1.0), **statistics):
    """Statistics of two channels of one layer group."""
    given = {"contribution": contribution, **statistics} if contribution is not None else statistics
    arrays = {name: value if isinstance(value, tuple) else np.asarray(value, float) for name, value in given.items()}
    return Record(2, np.asarray(positions), GROUPS, arrays)


@pytest.mark.parametrize("name", sorted(registered()))
def test_every_registered_criterion_keeps_its_contract(name):
    kt.testing.check_criterion(name)


def scored(criterion, *records):
    state = criterion.init(2, np.random.default_rng(0))
    for one in records:
        state = criterion.update(state, one)
    return criterion.result(state)


def test_taylor_by_hand():
    first, second = record([[1, -2], [-3, 4]], (4, 2)), record([[2, 0]], (4, 2))
    np.testing.assert_allclose(scored(kt.criteria.Taylor(), first, second), [(1 + 3 + 2) / 4 / 3, (2 + 4 + 0) / 2 / 3])
    np.testing.assert_allclose(scored(kt.criteria.Taylor("sum"), first, second), [6 / 3, 6 / 3])


def test_magnitude_by_hand():
    """`(1/|w|) * sum of w^2` of each filter; tied filters are added."""
    one = Filters(np.array([[1.0, 2.0], [3.0, 0.0]]), np.array([0, 1]))
    tied = Filters(np.array([[2.0, 1.0]]), np.array([1, 0]))
    found = scored(kt.criteria.Magnitude(), record(filters=(one, tied)))
    np.testing.assert_allclose(found, [(1 + 9) / 2 + 1, (4 + 0) / 2 + 4])


def test_magnitude_of_a_model():
    """Conv kernels are `(h, w, in, out)`; stem and outer are tied; no bias counts."""
    model = nets.randomized(nets.residual())
    found = kt.score(model, criterion=kt.criteria.Magnitude(normalize=None)).by_layer()
    squares = {name: (model.get_layer(name).kernel.numpy() ** 2).mean((0, 1, 2)) for name in ("stem", "outer", "inner")}
    np.testing.assert_allclose(found["inner"], squares["inner"], rtol=1e-6)
    np.testing.assert_allclose(found["stem"], squares["stem"] + squares["outer"], rtol=1e-6)
    l2 = kt.score(model, criterion="magnitude").by_layer()
    np.testing.assert_allclose(np.linalg.norm(l2["inner"]), 1.0)


@pytest.mark.parametrize(
    ("layer", "kernel", "axes"),
    [
        (lambda: keras.layers.Conv2DTranspose(4, 3, name="it"), "kernel", (0, 1, 3)),
        (lambda: keras.layers.SeparableConv2D(4, 3, name="it"), "pointwise_kernel", (0, 1, 2)),
        (lambda: keras.layers.Dense(4, name="it"), "kernel", (0,)),
        (lambda: keras.layers.Conv2D(6, 3, use_bias=False, name="it"), "kernel", (0, 1, 2)),
    ],
)
def test_magnitude_looks_along_the_right_axis(layer, kernel, axes):
    model = nets.randomized(keras.Sequential([keras.Input((8, 8, 3)), layer(), keras.layers.Conv2D(2, 1)]))
    found = kt.score(model, criterion=kt.criteria.Magnitude(normalize=None)).by_layer()["it"]
    squares = (getattr(model.get_layer("it"), kernel).numpy() ** 2).mean(axes)
    np.testing.assert_allclose(found, squares, rtol=1e-6)


def test_random_is_drawn_with_the_seed():
    model = nets.chain()
    first, again, other = (kt.score(model, criterion="random", seed=seed).values for seed in (3, 3, 4))
    np.testing.assert_array_equal(first, again)
    np.testing.assert_array_equal(first, np.random.default_rng(3).random(len(first)))
    assert not np.array_equal(first, other)


def test_options_are_checked():
    for make, text in (
        (lambda: kt.criteria.Taylor(spatial="median"), "spatial of Taylor must be 'mean' or 'sum'. Received: 'median'"),
        (lambda: kt.criteria.Taylor(normalize="l1"), "normalize of a criterion must be 'l2', 'mean' or None. Received: 'l1'"),
        (lambda: kt.criteria.Magnitude(flops=-1), "flops of a criterion must be a number of at least 0. Received: -1"),
        (lambda: kt.criteria.Magnitude(flops=float("nan")), "Received: nan"),
    ):
        with pytest.raises(kt.errors.BadInput) as caught:
            make()
        assert text in str(caught.value)


def test_options_are_frozen_and_criteria_are_values():
    one = kt.criteria.Taylor("sum", None, 0.1)
    assert one == kt.criteria.Taylor(spatial="sum", normalize=None, flops=0.1) != kt.criteria.Taylor()
    assert len({one, kt.criteria.Taylor("sum", None, 0.1)}) == 1
    assert repr(kt.criteria.APoZ()) == "APoZ(normalize='l2', flops=0.0)"
    with pytest.raises(dataclasses.FrozenInstanceError):
        one.spatial = "mean"


def test_the_order_of_options():
    c = kt.criteria
    assert c.L2("group", False, "l2", 0.1).settings() == {"members": "group", "root": False, "normalize": "l2", "flops": 0.1}
    assert c.OBD("fisher", "l2", 0.1).settings() == {"curvature": "fisher", "normalize": "l2", "flops": 0.1}
    assert c.LAMP("group", 0.1).settings() == {"members": "group", "flops": 0.1} and c.LAMP().normalize is None
    assert c.Blend(0.5, "l1", "l2", 0.1).needs == {"filters"}
    both = {"needs": {"contribution"}, "by_batch": False}, {"needs": {"absolute_positions"}, "by_batch": True}
    for aggregate, expected in zip(("jacobgil", "nvlabs"), both, strict=True):
        one = c.Taylor(aggregate=aggregate)
        assert {"needs": one.needs, "by_batch": one.by_batch} == expected
    assert c.criterion_for("obd_exact").needs == {"gauss_newton"} and c.criterion_for("obd_exact").name == "obd_exact"


def test_a_criterion_that_is_no_dataclass_has_its_options_as_attributes():
    class Mine(kt.criteria.MeanOverExamples):
        needs = frozenset({"contribution"})
        normalize = "l2"

        def __init__(self, power):
            self.power = power

        def each(self, record):
            return np.abs(record.contribution) ** self.power

    kt.testing.check_criterion(Mine(2))
    scores = kt.score(nets.compiled(nets.chain()), *nets.images(4), criterion=Mine(2), verbose=0)
    assert scores.settings["power"] == 2
    np.testing.assert_allclose(np.linalg.norm(scores.by_layer()["conv1"]), 1.0)


def test_criteria_see_neither_tensorflow_nor_keras():
    paths = [path for module, path in modules(PACKAGE).items() if module.split(".")[0] == "criteria"]
    assert len(paths) > 15
    for path in paths:
        assert not [name for name in imported(path) if name.split(".")[0] in ("tensorflow", "keras", "tf_keras")], path


class TestRegistering:
    @pytest.fixture(autouse=True)
    def restored(self, monkeypatch):
        monkeypatch.setattr(_base, "_REGISTRY", _base._REGISTRY.copy())

    def test_a_criterion_is_found_by_name(self):
        @kt.register_criterion("largest")
        class Largest(kt.Criterion):
            needs = frozenset({"contribution"})

            def init(self, channels, rng):
                return np.zeros(channels)

            def update(self, state, record):
                return np.maximum(state, np.abs(record.contribution).max(axis=0))

            def result(self, state):
                return state

        kt.testing.check_criterion("largest")
        model = nets.compiled(nets.chain())
        scores = kt.score(model, nets.images(6), criterion="largest", verbose=0)
        assert scores.criterion == "largest" and (scores.by_layer()["conv1"] > 0).all()

    @pytest.mark.parametrize(
        ("broken", "text"),
        [
            ({"result": lambda self, state: state[:-1]}, "have shape"),
            ({"result": lambda self, state: state * np.nan}, "are not finite"),
            ({"update": lambda self, state, record: record.contribution[0]}, "depends on the batches"),
            ({"update": lambda self, state, record: record.contribution.__imul__(2).sum(axis=0)}, "changed the record"),
        ],
    )
    def test_a_broken_criterion_fails_the_contract(self, broken, text):
        good = {
            "needs": frozenset({"contribution"}),
            "init": lambda self, channels, rng: np.zeros(channels),
            "update": lambda self, state, record: state + record.contribution.sum(axis=0),
            "result": lambda self, state: state,
        }
        kind = type("Mine", (kt.Criterion,), {**good, **broken})
        with pytest.raises(AssertionError, match=text):
            kt.testing.check_criterion(kind())

    def test_what_must_be_defined(self):
        with pytest.raises(TypeError, match="must define init, update and result"):
            kt.score(nets.chain(), criterion=type("Empty", (kt.Criterion,), {})())
