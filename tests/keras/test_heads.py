"""Kinds of outputs, and their logits."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_taylor._keras.heads import Logits, output_kinds

layers = keras.layers


def test_logits_and_back():
    """A softmax over three, two sigmoids in a 2 x 1 map and one plain number, side by side."""
    soft = np.array([[0.2, 0.3, 0.5], [0.1, 0.1, 0.8]], "float32")
    hard = np.array([[0.25, 0.5], [0.75, 0.9]], "float32").reshape(2, 2, 1)
    plain = np.array([[3.0], [-1.0]], "float32")
    logits = Logits([tf.constant(one) for one in (soft, hard, plain)], ["softmax", "sigmoid", "gaussian"])
    values = logits.values.numpy()
    assert values.shape == (2, 3 + 2 + 1)
    np.testing.assert_allclose(values[:, :3], np.log(soft), rtol=1e-5)
    np.testing.assert_allclose(values[:, 3:5], np.log(hard / (1 - hard))[..., 0], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(values[:, 5:], plain)
    for one, again in zip((soft, hard, plain), logits.to_outputs(logits.values), strict=True):
        np.testing.assert_allclose(again, one, rtol=1e-5)
    # The way back takes any number of rows.
    assert [tuple(one.shape) for one in logits.to_outputs(tf.zeros((5, 6)))] == [(5, 3), (5, 2, 1), (5, 1)]


@pytest.mark.parametrize(
    ("last", "loss", "kind"),
    [
        (lambda: layers.Dense(3, activation="softmax"), None, "softmax"),
        (lambda: layers.Softmax(), None, "softmax"),
        (lambda: layers.Dense(3, activation="sigmoid"), None, "sigmoid"),
        (lambda: layers.Dense(3), keras.losses.SparseCategoricalCrossentropy(from_logits=True), "logits"),
        (lambda: layers.Dense(3), keras.losses.BinaryCrossentropy(from_logits=True), "binary logits"),
        (lambda: layers.Dense(3), "mse", "gaussian"),
    ],
)
def test_kinds(last, loss, kind):
    model = keras.Sequential([keras.Input((3,)), last()])
    assert output_kinds(model, loss) == [kind]
