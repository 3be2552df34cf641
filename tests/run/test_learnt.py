"""Whether a model has learnt its labels is told by a shuffle of them."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_taylor as kt
from keras_taylor._run.learnt import has_learnt

X = np.random.default_rng(0).normal(size=(96, 3)).astype("float32")
KERNEL = np.array([[1.0], [-2.0], [0.5]], "float32")


def line(kernel, loss="mse"):
    """A model that computes `x @ kernel`."""
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1, use_bias=False)])
    model.set_weights([kernel])
    model.compile("sgd", loss)
    return model


def learnt(model, data, batch_size=8):
    return has_learnt(kt.trace(model), model, data, batch_size=batch_size, seed=0)


@pytest.mark.parametrize("loss", ["mse", "mae"])
def test_a_line_that_fits_and_one_that_does_not(loss):
    y = X @ KERNEL
    assert learnt(line(KERNEL, loss), (X, y)) and learnt(line(KERNEL + 0.1, loss), (X, y))
    assert not learnt(line(0 * KERNEL, loss), (X, y)) and not learnt(line(-KERNEL, loss), (X, y))


def test_an_order_by_label_is_no_excuse():
    order = np.argsort((X @ KERNEL)[:, 0])
    data = tf.data.Dataset.from_tensor_slices((X[order], (X @ KERNEL)[order])).batch(4)
    assert learnt(line(KERNEL), data)


def test_labels_that_are_all_alike_tell_nothing():
    """As in a data set that is sorted by class: the model is believed."""
    first, other = np.zeros((600, 1), "float32"), np.ones((300, 1), "float32")
    x = np.random.default_rng(0).normal(size=(900, 3)).astype("float32")
    data = tf.data.Dataset.from_tensor_slices((x, np.concatenate([first, other]))).batch(32)
    assert learnt(line(KERNEL), data)


def test_batches_of_several_shapes_are_shuffled_one_by_one():
    model = keras.Sequential([keras.Input((None, 3)), keras.layers.Dense(1, use_bias=False)])
    model.set_weights([KERNEL])
    model.compile("sgd", "mse")
    rng = np.random.default_rng(1)
    batches = [(x := rng.normal(size=(8, length, 3)).astype("float32"), x @ KERNEL) for length in (4, 6)]
    assert learnt(model, batches)
    model.set_weights([0 * KERNEL])
    assert not learnt(model, batches)


def test_several_outputs_and_weights_of_examples():
    inputs = keras.Input((3,))
    model = keras.Model(inputs, {name: keras.layers.Dense(1, use_bias=False, name=name)(inputs) for name in ("a", "b")})
    model.compile("sgd", {"a": "mse", "b": "mae"})
    model.set_weights([KERNEL, -KERNEL])
    y, weight = {"a": X @ KERNEL, "b": -X @ KERNEL}, np.arange(96, dtype="float32")
    assert learnt(model, (X, y)) and learnt(model, (X, y, {"a": weight, "b": weight}))
    assert not learnt(model, (X, {"a": y["b"], "b": y["a"]}))


def test_a_loss_that_is_no_number_has_taught_nothing():
    assert not learnt(line(np.nan * KERNEL), (X, X @ KERNEL))
