"""Statistics: one file each, and how a new one is added."""

import pkgutil
import pydoc

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_taylor as kt
from keras_taylor._record import statistics
from keras_taylor._record.statistics import _base as base
from keras_taylor._record.statistics import register_statistic, statistics_named
from keras_taylor.criteria import _statistics as table
from tests import nets

NAMES = sorted(base._REGISTRY)


@pytest.fixture
def restored(monkeypatch):
    """What is registered is forgotten."""
    monkeypatch.setattr(base, "_REGISTRY", dict(base._REGISTRY))
    monkeypatch.setattr(table, "_SOURCES", dict(table._SOURCES))
    before = set(vars(kt.criteria.Record))
    yield
    for name in set(vars(kt.criteria.Record)) - before:
        delattr(kt.criteria.Record, name)


def test_every_file_holds_the_statistic_of_its_name():
    files = {module.name for module in pkgutil.iter_modules(statistics.__path__)}
    assert {name for name in files if not name.startswith("_")} == set(NAMES) == set(table._SOURCES)
    assert all(type(one).__module__ == f"{statistics.__name__}.{one.name}" for one in statistics_named(NAMES))


def test_every_criterion_needs_what_exists():
    for name in kt.criteria.registered():
        table.check_needs(kt.criteria.criterion_for(name).needs)


def test_help_lists_them():
    text = pydoc.plain(pydoc.render_doc(kt.criteria.Record))
    for name in NAMES:
        assert f" {name}\n" in text and base._REGISTRY[name].__doc__.splitlines()[0] in text


def test_what_is_needed_of_data_and_of_the_loss():
    kinds = {"weights": ("l1", "fpgm", "bn_scale", "random"), "data": ("apoz", "obd", "mutual_information")}
    kinds["loss"] = ("taylor", "obd_exact", "obd_hutchinson", "taylor_logits", "blend")
    for kind, names in kinds.items():
        for name in names:
            one = kt.criteria.criterion_for(name)
            assert (one.needs_data, one.needs_loss) == (kind != "weights", kind == "loss"), name


def test_a_new_statistic_is_one_class(restored):
    @register_statistic("largest")
    class Largest(base.ReadStatistic):
        """The largest activation at any position, summed over members."""

        def at_site(self, values):
            return {"largest": tf.reduce_max(values, 1)}

    @register_statistic("signed_square")
    class SignedSquare(base.GradientStatistic):
        """Sum over positions of `z g |g|`."""

        probe = "signed_square"
        degree = 2

        def at_position(self, activation, gradient):
            return activation * gradient * tf.abs(gradient)

    @register_statistic("biases")
    class Biases(base.WeightStatistic):
        """The biases of dense layers."""

        def measure(self, graph):
            names = dict((name, ids) for ids, name in graph.births)
            kinds = [step.call for step in graph.steps if isinstance(step.call.operation, keras.layers.Dense)]
            return tuple(
                kt.criteria.Filters(call.operation.bias.numpy()[None].astype(float), graph.channel[names[call.name]])
                for call in kinds
            )

    def criterion(name):
        return type(
            name, (kt.criteria.MeanOverExamples,), {"needs": frozenset({name}), "each": lambda self, one: getattr(one, name)}
        )()

    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2, name="hidden"), keras.layers.Dense(1, name="out")])
    model.get_layer("hidden").set_weights([np.array([[1.0, -2.0], [0.0, 1.0]]), np.array([0.5, 3.0])])
    model.get_layer("out").set_weights([np.array([[2.0], [-3.0]]), np.zeros(1)])
    x = np.array([[1.0, 0.0], [2.0, 1.0]], "float32")
    z = x @ np.array([[1.0, -2.0], [0.0, 1.0]]) + [0.5, 3.0]
    loss = lambda y, p: p[:, 0]  # noqa: E731
    found = kt.score_all(
        model, x, np.zeros(2), criteria={name: criterion(name) for name in ("largest", "signed_square")}, loss=loss, verbose=0
    )
    np.testing.assert_allclose(found["largest"].by_layer()["hidden"], z.mean(0))
    np.testing.assert_allclose(found["signed_square"].by_layer()["hidden"], z.mean(0) * np.array([2 * 2, -3 * 3]))
    assert kt.criteria.Record.largest.__doc__ == "The largest activation at any position, summed over members."
    kt.testing.check_criterion(criterion("largest"))

    class OfBiases(kt.criteria.KernelCriterion):
        needs = frozenset({"biases"})

        def measure(self, kernel):
            return np.abs(kernel).sum(0)

    np.testing.assert_allclose(kt.score(model, criterion=OfBiases()).by_layer()["hidden"], [0.5, 3.0])


def test_names_must_be_free(restored):
    for name in ("positions", "groups", "statistics"):
        with pytest.raises(kt.errors.BadInput, match=rf"The name of a statistic must be free. Received: '{name}'"):
            register_statistic(name)(type("Mine", (base.ReadStatistic,), {}))


def test_what_a_record_does_not_hold():
    one = kt.criteria.Record(2, np.ones(2), [np.arange(2)], {"zeros": np.zeros((1, 2))})
    assert one.zeros.shape == (1, 2)
    with pytest.raises(kt.errors.BadInput, match=r"must name in `needs` what it looks at. Received: 'activation'"):
        _ = one.activation
    with pytest.raises(AttributeError, match="colour"):
        _ = one.colour


def test_a_model_that_reads_no_channels():
    model = nets.compiled(keras.Sequential([keras.Input((2,)), keras.layers.ReLU()]), "mse")
    with pytest.raises(kt.errors.BadInput, match="The model must have a layer that reads channels"):
        kt.score(model, np.ones((2, 2)), np.ones((2, 2)))
    assert not kt.score(model, criterion="l1").values.any()
