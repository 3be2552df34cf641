"""Weights that an operation uses behind Keras' back are found, wherever the reference to them hides."""

import functools
import types
import weakref

import keras
import pytest
import tensorflow as tf

import keras_taylor as kt
from tests import nets

layers = keras.layers


class Holder:
    def __init__(self, source):
        self.source = source

    def scaled(self, t):
        return t * keras.ops.sum(self.source.kernel**2)


class Callable(Holder):
    __call__ = Holder.scaled


class Scale(layers.Layer):
    def __init__(self, function, **options):
        super().__init__(**options)
        self.functions = [function]

    def call(self, t):
        return self.functions[0](t)

    def get_config(self):
        return {**super().get_config(), "function": self.functions[0]}


def by(source, t):
    return t * keras.ops.sum(source.kernel**2)


def nested(c):
    box = ({"a": [c]},)
    return lambda t: by(box[0]["a"][0], t)


def inner(c):
    def outer(t):
        def inside():
            return by(c, t)

        return inside()

    return outer


HIDDEN = {
    "a dictionary in a tuple": nested,
    "a default argument": lambda c: lambda t, c=c: by(c, t),
    "a keyword default": lambda c: eval("lambda t, *, c=c, by=by: by(c, t)", {"c": c, "by": by}),
    "a partial": lambda c: functools.partial(by, c),
    "a function in a function": inner,
    "a bound method": lambda c: Holder(c).scaled,
    "an object": lambda c: (lambda holder: lambda t: holder.scaled(t))(Holder(c)),
    "a callable object": Callable,
    "a weak reference": lambda c: (lambda ref: lambda t: by(ref(), t))(weakref.ref(c)),
    "a namespace": lambda c: (lambda space: lambda t: by(space.c, t))(types.SimpleNamespace(c=c)),
    "a tf.function": lambda c: tf.function(lambda t: by(c, t)),
    "a wrapped function": lambda c: functools.wraps(by)(lambda t: by(c, t)),
}


@pytest.mark.parametrize("kind", [layers.Lambda, Scale])
@pytest.mark.parametrize("hidden", HIDDEN)
def test_what_is_used_behind_the_back_is_locked(hidden, kind):
    inputs, source = keras.Input((6, 6, 2)), layers.Conv2D(6, 3, name="source")
    x = layers.Conv2D(3, 1)(layers.Conv2D(4, 1, name="free")(source(inputs)))
    model = nets.randomized(keras.Model(inputs, layers.Dense(3)(kind(HIDDEN[hidden](source))(layers.Flatten()(x)))))
    graph = kt.trace(model)
    (locked,) = [ids for ids, name in graph.births if name == "source"]
    assert all("shares weights" in reason for reason in graph.locks[graph.channel[locked]])
    (free,) = [ids for ids, name in graph.births if name == "free"]
    assert (graph.locks[graph.channel[free]] == "").all()


def test_functions_that_use_nothing_lock_nothing():
    inputs = keras.Input((6, 6, 2))
    six = functools.partial(keras.activations.relu, max_value=6.0)
    x = layers.Conv2D(4, 1, name="free")(inputs)
    x = layers.Conv2D(3, 1, activation=keras.activations.gelu)(layers.ReLU(max_value=6.0)(x))
    x = layers.Lambda(lambda t, clip=six: clip(t))(layers.Flatten()(x))
    graph = kt.trace(nets.randomized(keras.Model(inputs, layers.Dense(3)(x))))
    (free,) = [ids for ids, name in graph.births if name == "free"]
    assert (graph.locks[graph.channel[free]] == "").all()


@pytest.mark.parametrize("make", [nets.chain, nets.nested])
def test_a_model_whose_call_is_patched_is_refused_or_locked(make):
    model = make()
    inner = next((layer for layer in model.layers if isinstance(layer, keras.Model)), model)
    call = inner.call
    inner.call = lambda *args, **kwargs: call(*args, **kwargs) * 3.0
    if inner is model:
        with pytest.raises(kt.errors.UnsupportedModel, match="a `call` of its own"):
            kt.trace(model)
    else:
        assert inner.name in str(kt.trace(model))
