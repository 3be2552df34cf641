"""The helpers of `errors`: names in a list, whole numbers, warnings at the user's line."""

import warnings

import numpy as np
import pytest

from keras_taylor.errors import BadInput, listed, warn, whole_number


def test_listed():
    assert listed(["a", "b"]) == "a, b"
    assert listed("abcdefg", most=5, what="more layers") == "a, b, c, d, e and 2 more layers"


@pytest.mark.parametrize("value", [3, np.int64(3), np.uint8(3)])
def test_whole_numbers(value):
    found = whole_number("epochs", value)
    assert found == 3 and type(found) is int


@pytest.mark.parametrize("value", [True, np.True_, 3.0, "3", None, 0])
def test_what_is_no_whole_number(value):
    with pytest.raises(BadInput, match=r"^epochs must be a whole number of at least 1\. Received: "):
        whole_number("epochs", value)


def test_out_of_range():
    with pytest.raises(BadInput, match="from 1 to 2"):
        whole_number("epochs", 3, most=2)


def test_warnings_point_at_the_line_outside_the_package():
    inside = {"__name__": "keras_taylor._somewhere", "warn": warn}
    exec(compile("def deep():\n    warn('here')\ndef entry():\n    deep()\n", "inside.py", "exec"), inside)
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        inside["entry"]()
    assert found[0].filename == __file__
