"""Batches out of whatever `fit` takes."""

import numpy as np
import pytest
import tensorflow as tf

from keras_taylor._keras.batches import batches, class_indices, joined, peek
from keras_taylor.errors import BadInput

X, Y = np.arange(10.0).reshape(5, 2), np.array([0, 1, 2, 1, 0])
ONE_HOT = np.eye(3)[Y]


def test_joined():
    assert joined(X, None) is X
    assert joined(X, Y) == (X, Y)
    assert joined([X, X], {"a": Y, "b": None})[1]["b"] is None
    assert joined(X, [0, 1, 2, 1, 0])[1] == [0, 1, 2, 1, 0]


@pytest.mark.parametrize("option", ["taylor", 0.5, True, ["l1", "l2"], {"a": "l1"}, object(), [], ()])
def test_what_is_no_labels(option):
    with pytest.raises(BadInput, match=r"y must be labels: an array, or a structure of arrays. Received: .*by name"):
        joined(X, option)


def test_class_weights():
    """By index; 1 for the classes that are not named. One-hot labels, and those in a column, name the same classes."""
    expected = [2, 1, 3, 1, 2]
    for y in (Y, Y[:, None], ONE_HOT):
        ((_, _, found),) = batches((X, y), class_weight={0: 2.0, 2: 3.0})
        np.testing.assert_array_equal(found, expected)
        ((_, _, found),) = batches((X, y, np.arange(5.0)), class_weight={0: 2.0, 2: 3.0})
        np.testing.assert_array_equal(found, expected * np.arange(5))
    ((_, y, found),) = batches(X, class_weight={0: 2.0}, labels=False)
    assert y is None and found is None
    with pytest.raises(BadInput, match="class_weight must go with a single output"):
        next(batches((X, {"a": Y, "b": Y}), class_weight={0: 2.0}))


def test_class_indices():
    np.testing.assert_array_equal(class_indices(ONE_HOT), Y)
    np.testing.assert_array_equal(class_indices(Y), Y)
    assert class_indices(Y[:, None]).shape == (5, 1)


def test_labels_as_the_first_batch_has_them():
    assert [y is None for _, y, _ in batches(iter([X, X]), labels=None)] == [True, True]
    assert [len(y) for _, y, _ in batches((X, Y), batch_size=3, labels=None)] == [3, 2]
    mixed = batches(iter([(X, Y), (X,)]), labels=None)
    next(mixed)
    with pytest.raises(BadInput, match=r"data must have labels. Received: inputs alone. Pass x and y"):
        next(mixed)


def test_peek():
    x, y, _ = peek((X, Y))
    assert y is not None and len(x) == 2
    x, y, _ = peek(tf.data.Dataset.from_tensor_slices(X).batch(4))
    assert y is None and len(x) == 2


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"batch_size": 0}, "batch_size must be a whole number of at least 1. Received: 0"),
        ({"batch_size": 2.0}, "batch_size must be a whole number of at least 1. Received: 2.0"),
        ({"examples": 0}, "examples must be a whole number of at least 1. Received: 0"),
        ({"examples": True}, "examples must be a whole number of at least 1. Received: True"),
    ],
)
def test_numbers(options, text):
    with pytest.raises(BadInput, match=text):
        next(batches((X, Y), **options))
    assert len(next(batches((X, Y), examples=np.int64(2)))[0]) == 2
