"""The forms of data that are brought into another one: lists of batches, and what can be read only once."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf


class BatchList(keras.utils.PyDataset):
    """A list of batches as a data set.

    Attributes:
        given: the list.
    """

    def __init__(self, given: list[Any]) -> None:
        super().__init__()
        self.given = given

    def __len__(self) -> int:
        return len(self.given)

    def __getitem__(self, index: int) -> Any:
        return self.given[index]


class Replayed:
    """Batches of an iterator that can be read again from the first one on: those that were drawn are kept."""

    def __init__(self, source: Iterator[Any]) -> None:
        self._source = source
        self._drawn: list[Any] = []

    def __iter__(self) -> Iterator[Any]:
        for number in itertools.count():
            if number == len(self._drawn):
                try:
                    self._drawn.append(next(self._source))
                except StopIteration:
                    return
            yield self._drawn[number]


class Reread:
    """Batches that are read anew by each loop over them."""

    def __init__(self, read: Callable[[], Iterator[Any]]) -> None:
        self._read = read

    def __iter__(self) -> Iterator[Any]:
        return self._read()


def as_data(data: Any) -> Any:
    """A list of batches as a data set; all else as it is."""
    return BatchList(data) if is_batch_list(data) else data


def rereadable(data: Any) -> Any:
    """Data that can be read again: `as_data`, and an iterator whose batches are kept."""
    return Replayed(data) if isinstance(data, Iterator) else as_data(data)


def is_batch_list(data: Any) -> bool:
    """Whether data are a list of batches: of tuples, of dictionaries with the same keys, or of many arrays.

    Two or three arrays in a list are `x`, `y` and weights, unless they can be nothing but inputs: of one shape, with channels.
    """
    if type(data) is not list or not data:
        return False
    if all(isinstance(one, tuple) and 0 < len(one) <= 3 for one in data):
        return True
    if all(isinstance(one, Mapping) for one in data):
        return len(data) > 1 and len({frozenset(one) for one in data}) == 1
    return len(data) > 3 and _are_alike(data)


def are_inputs(data: Any) -> bool:
    """Whether a list of two or three arrays can be taken for batches of inputs, where labels are not asked for."""
    return type(data) is list and len(data) > 1 and _are_alike(data) and len(data[0].shape) > 2


def is_infinite(data: Any) -> bool:
    """Whether data say that they have no end."""
    if isinstance(data, tf.data.Dataset):
        return int(data.cardinality()) == tf.data.INFINITE_CARDINALITY
    if isinstance(data, keras.utils.PyDataset):
        return data.num_batches is None
    return isinstance(data, (itertools.cycle, itertools.count))


def kind_of(data: Any, depth: int = 0) -> str:
    """Data in a few words: classes, shapes and dtypes, never values."""
    if isinstance(data, Mapping):
        inner = [f"{key}: {kind_of(value, depth + 1)}" for key, value in itertools.islice(data.items(), 4)]
        return f"a dict of {len(data)}" if depth > 1 else "{" + ", ".join([*inner, "..."][: len(inner) + (len(data) > 4)]) + "}"
    if isinstance(data, (list, tuple)):
        inner = [kind_of(value, depth + 1) for value in data[:4]]
        what = type(data).__name__
        return f"a {what} of {len(data)}" + (f" ({', '.join(inner)}{', ...' * (len(data) > 4)})" if inner and depth < 2 else "")
    if hasattr(data, "shape") and hasattr(data, "dtype"):
        return f"{getattr(data.dtype, 'name', data.dtype)}{list(data.shape)}"
    return "None" if data is None else f"a {type(data).__name__}"


def _are_alike(arrays: list[Any]) -> bool:
    """Arrays of one shape, but for the number of examples, and of one kind of numbers."""
    if not all(hasattr(one, "shape") and hasattr(one, "dtype") and len(one.shape) > 1 for one in arrays):
        return False
    return len({(tuple(one.shape[1:]), str(np.dtype(getattr(one.dtype, "as_numpy_dtype", one.dtype)))) for one in arrays}) == 1
