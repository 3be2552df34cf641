"""A rule is trusted with its own class: what a subclass, a mixin or a patch changes of what `call` uses is not followed."""

import functools

import keras
import pytest

import keras_taylor as kt
from keras_taylor.rules import _registry, rule_for
from tests import nets

layers, ops = keras.layers, keras.ops


def standardized(kernel):
    mean = ops.mean(kernel, axis=(0, 1, 2), keepdims=True)
    return (kernel - mean) / (ops.std(kernel, axis=(0, 1, 2), keepdims=True) + 1e-5)


@keras.saving.register_keras_serializable("tests")
class Standardized(layers.Conv2D):
    """Weight standardisation, as in Big Transfer."""

    def convolution_op(self, inputs, kernel):
        return super().convolution_op(inputs, standardized(kernel))


@keras.saving.register_keras_serializable("tests")
class CentredKernel(layers.Conv2D):
    """A kernel that is computed when it is read."""

    @property
    def kernel(self):
        return self._kernel - ops.mean(self._kernel, axis=(0, 1, 2), keepdims=True)


class Normalised:
    """A mixin that comes before the layer."""

    def convolution_op(self, inputs, kernel):
        return super().convolution_op(inputs, ops.normalize(kernel, axis=(2)))


@keras.saving.register_keras_serializable("tests")
class MixedIn(Normalised, layers.Conv2D):
    pass


@keras.saving.register_keras_serializable("tests")
class Intercepted(layers.Conv2D):
    """Reads its kernel through a hook that decides about every attribute."""

    def __getattribute__(self, name):
        found = super().__getattribute__(name)
        return standardized(found) if name == "_kernel" and super().__getattribute__("built") else found


@keras.saving.register_keras_serializable("tests")
class Called(layers.Conv2D):
    def __call__(self, *args, **kwargs):
        return ops.cumsum(super().__call__(*args, **kwargs), axis=-1)


@keras.saving.register_keras_serializable("tests")
class Moments(layers.BatchNormalization):
    """Shifts each channel by a statistic over all of them."""

    @property
    def beta(self):
        return self.own_beta if self.own_beta is None else self.own_beta - ops.mean(self.own_beta)

    @beta.setter
    def beta(self, value):
        self.own_beta = value


OVERRIDES = {
    "convolution_op": lambda: Standardized(6, 3, name="odd"),
    "kernel": lambda: CentredKernel(6, 3, name="odd"),
    "convolution_op of a mixin": lambda: MixedIn(6, 3, name="odd"),
    "__getattribute__": lambda: Intercepted(6, 3, name="odd"),
    "beta": lambda: Moments(name="odd"),
}


def net_with(odd):
    return nets.randomized(
        keras.Sequential(
            [
                keras.Input((8, 8, 3)),
                layers.Conv2D(8, 3, name="before"),
                odd,
                layers.Conv2D(4, 1, name="free"),
                layers.GlobalAveragePooling2D(),
                layers.Dense(2, name="out"),
            ]
        )
    )


@pytest.mark.parametrize("what", OVERRIDES)
def test_what_call_uses_is_overridden(what):
    """The first came out of `rebuild` 45 % wrong without a word."""
    model = net_with(OVERRIDES[what]())
    graph = kt.trace(model)
    assert f"overrides {what.split()[0]}, which the call of " in graph.locked["before"]
    assert "free" not in graph.locked
    plan = kt.PruningPlan({"free": (1, 2)})
    assert kt.verify(model, plan, kt.rebuild(model, plan)).ok


def test_call_itself_from_outside():
    """What its `__call__` does around the layer stands in the graph as operations of their own."""
    assert "overrides __call__, which the call of" in kt.trace(net_with(Called(6, 3, name="odd"))).locked["before"]


def test_a_patched_instance():
    layer = layers.Conv2D(6, 3, name="odd")
    original = layer.convolution_op
    layer.convolution_op = lambda inputs, kernel: original(inputs, standardized(kernel))
    graph = kt.trace(net_with(layer))
    assert "overrides convolution_op, which the call of Conv2D uses" in graph.locked["before"]


def test_a_patched_class(monkeypatch):
    original = layers.Conv2D.convolution_op
    monkeypatch.setattr(
        layers.Conv2D.__mro__[1], "convolution_op", lambda self, x, kernel: original(self, x, standardized(kernel))
    )
    rule, reason = rule_for(layers.Conv2D(6, 3))
    assert rule is None and "overrides convolution_op" in reason


def test_names_within_decorators_and_helpers_are_found(monkeypatch):
    monkeypatch.setattr(_registry, "_REGISTRY", dict(_registry._REGISTRY))

    def checked(function):
        @functools.wraps(function)
        def wrapper(*args, **kwargs):
            return function(*args, **kwargs)

        return wrapper

    class Base(layers.Layer):
        @checked
        def call(self, x):
            return sum(_scaled(self, x) for _ in range(2))

        def factor(self):
            return 1.0

    class Changed(Base):
        def factor(self):
            return 2.0

    @kt.register_rule(Base)
    class BaseRule(kt.rules.PassThrough):
        pass

    assert rule_for(Base())[0] is not None
    assert rule_for(Changed()) == (None, "overrides factor, which the call of Base uses, and has no rule of its own")


def _scaled(layer, x):
    return x * getattr(layer, "factor")()  # noqa: B009


@keras.saving.register_keras_serializable("tests")
class Described(layers.Conv2D):
    """A harmless subclass: another argument, a method more, its own `get_config` and `build`."""

    supports_masking = True

    def __init__(self, *args, remark="", **kwargs):
        super().__init__(*args, **kwargs)
        self.remark = remark

    def build(self, shape):
        super().build(shape)
        self.seen = shape

    def describe(self):
        return f"{self.name}: {self.remark}"

    def get_config(self):
        return {**super().get_config(), "remark": self.remark}


def test_a_harmless_subclass_is_served():
    model = net_with(Described(6, 3, remark="mine", activation=lambda x: ops.relu(x), name="odd"))
    assert rule_for(model.get_layer("odd")) == rule_for(model.get_layer("before"))
    model = net_with(Described(6, 3, remark="mine", activation="relu", name="odd"))
    small = kt.rebuild(model, kt.PruningPlan({"odd": (0, 2, 3)}))
    assert small.get_layer("odd").remark == "mine" and small.get_layer("odd").filters == 3


def test_the_layers_of_keras_override_nothing():
    for rule in dict.fromkeys(_registry.registered().values()):
        for model in rule.examples():
            for layer in model._flatten_layers():
                if type(layer) in _registry.registered():
                    assert "overrides" not in rule_for(layer)[1], layer
