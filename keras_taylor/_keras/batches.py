"""Batches out of whatever `fit` takes."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from keras_taylor._keras.forms import BatchList, are_inputs, as_data, is_infinite, kind_of
from keras_taylor.errors import BadInput, shown, whole_number

Batch = tuple[Any, Any, Any]


def joined(x: Any, y: Any) -> Any:
    """What `fit(x, y)` is given, as one value: `x` alone, or the pair.

    Raises:
        BadInput: something that is no labels at all, such as an option in the place of `y`; labels without inputs; or `y`
            beside a data set, which yields its labels itself.
    """
    if y is None:
        return as_data(x)
    parts = keras.tree.flatten(y)
    numbers = (bool, int, float, type(None)) if keras.tree.is_nested(y) else ()
    if not parts or not all(hasattr(part, "shape") or isinstance(part, numbers) for part in parts):
        raise BadInput(
            f"y must be labels: an array, or a structure of arrays. Received: {shown(y)}. Options are passed by name: "
            "criterion=..., target=..., method=...."
        )
    if x is None:
        raise BadInput("x must be given where y is. Received: x=None.")
    if isinstance(x, (tf.data.Dataset, keras.utils.PyDataset)):
        raise BadInput(f"y must be None where x is a data set, which yields the labels itself. Received: {type(y).__name__}.")
    return x, y


def peek(data: Any, name: str = "x") -> Batch:
    """Two examples (one, where the first batch has no more) as a batch; `name` is the argument that errors speak of."""
    return next(batches(data, batch_size=2, examples=2, labels=False, name=name))


def batches(
    data: Any,
    *,
    batch_size: int = 32,
    examples: int | None = None,
    class_weight: Mapping[int, float] | None = None,
    seed: int = 0,
    labels: bool | None = True,
    name: str = "data",
    limit: str = "examples=1000",
) -> Iterator[Batch]:
    """Batches `(x, y, sample_weight)` from data as `fit` takes it.

    Args:
        data: arrays `(x, y)` or `(x, y, sample_weight)` of equal length, a `tf.data.Dataset`, a `keras.utils.PyDataset`, a
            generator or a list of batches.
        batch_size: for arrays.
        examples: stop after this many examples; all by default. From arrays they are drawn at random.
        class_weight: weight of each class index, as in `fit`.
        seed: for the draw.
        labels: whether every batch must have labels; without, `y` may be None. None stands for what the first batch shows.
        name: of the argument that errors speak of.
        limit: the argument of the caller's that would end infinite data, for the error.

    Raises:
        BadInput: no labels, no examples, or arrays of different lengths.
    """
    batch_size = whole_number("batch_size", batch_size)
    seed = whole_number("seed", seed, least=0)
    left = sys.maxsize if examples is None else whole_number("examples", examples)
    data = BatchList(data) if not labels and are_inputs(data) else as_data(data)
    if examples is None and is_infinite(data):
        raise infinite(data, limit)
    if isinstance(data, tf.data.Dataset):
        if any(len(spec.shape) == 0 for spec in keras.tree.flatten(data.element_spec) if spec.shape.rank is not None):
            raise BadInput("A data set must yield batches. Received: one that yields single examples. Call .batch(32) on it.")
    count = 0
    for x, y, weight in _raw(data, batch_size, examples, np.random.default_rng(seed), name):
        labels = y is not None if labels is None else labels
        if labels and y is None:
            raise BadInput(f"{name} must have labels. Received: inputs alone. Pass x and y, or a data set that yields both.")
        size = length(x)
        if size > left:
            x, y, weight = keras.tree.map_structure(lambda a, n=left: None if a is None else a[:n], (x, y, weight))
            size = left
        if size == 0:
            continue
        yield x, y, _weigh(y, weight, class_weight)
        count, left = count + size, left - size
        if left <= 0:
            break
    if count == 0:
        raise BadInput(f"{name} must have at least one example. Received: an empty data set.")


def count_batches(data: Any, *, batch_size: int, examples: int | None) -> int | None:
    """How many batches `batches` will give, or None where only reading tells."""
    data = as_data(data)
    if examples is not None and not is_arrays(data):
        return None
    if isinstance(data, tf.data.Dataset):
        cardinality = int(data.cardinality())
        return cardinality if cardinality >= 0 else None
    if isinstance(data, keras.utils.PyDataset):
        return data.num_batches
    if is_arrays(data):
        count = length(data)
        return -(-min(count, examples or count) // batch_size)
    return None


def _raw(data: Any, batch_size: int, examples: int | None, rng: np.random.Generator, name: str) -> Iterator[Batch]:
    if isinstance(data, keras.utils.PyDataset):
        numbers = itertools.count() if data.num_batches is None else range(data.num_batches)
        yield from (_unpacked(data[i], name) for i in numbers)
    elif is_arrays(data):
        x, y, weight = _unpacked(data if isinstance(data, (tuple, list)) else (data,), name)
        parts = [a for a in keras.tree.flatten((x, y, weight)) if a is not None]
        if not parts or not all(hasattr(a, "shape") and len(a.shape) for a in parts):
            raise _unreadable(data, name)
        lengths = {len(a) for a in parts}
        if len(lengths) > 1:
            raise BadInput(f"Inputs and labels of {name} must have one length. Received: {sorted(lengths)}.")
        length = max(lengths, default=0)
        drawn: NDArray[np.int64] = np.arange(length)
        if examples is not None and examples < length:
            drawn = np.sort(rng.choice(length, examples, replace=False))
        for start in range(0, len(drawn), batch_size):
            rows = drawn[start : start + batch_size]
            yield keras.tree.map_structure(lambda a, r=rows: None if a is None else _rows(a, r), (x, y, weight))
    elif isinstance(data, (tf.data.Dataset, Iterable)):
        yield from (_unpacked(batch, name) for batch in data)
    else:
        raise _unreadable(data, name)


def infinite(data: Any, limit: str) -> BadInput:
    """The error for data without an end, where an argument could give one."""
    return BadInput(f"Infinite data must go with a number of batches or examples. Received: {kind_of(data)}. Pass {limit}.")


def _unreadable(data: Any, name: str) -> BadInput:
    return BadInput(
        f"{name} must be what `fit` takes: arrays (x, y), a tf.data.Dataset, a PyDataset, or a generator or list of batches. "
        f"Received: {kind_of(data)}."
    )


def _unpacked(batch: Any, name: str) -> Batch:
    if isinstance(batch, (tuple, list)) and not 0 < len(batch) <= 3:
        raise BadInput(
            f"A batch, and arrays of {name}, must be x, (x, y) or (x, y, sample_weight). "
            f"Received: {kind_of(batch)}. Several inputs go together in one tuple: ((a, b), y)."
        )
    x, y, weight = keras.utils.unpack_x_y_sample_weight(batch)
    if not all(hasattr(part, "shape") for part in keras.tree.flatten(x)):
        raise _unreadable(batch, name)
    return x, y, weight


def _rows(array: Any, rows: Any) -> Any:
    return tf.gather(array, rows) if tf.is_tensor(array) else np.asarray(array)[rows]


def is_arrays(data: Any) -> bool:
    """Whether data are arrays, or a structure of them, and not something that yields batches."""
    return isinstance(data, (tuple, list, Mapping)) or (hasattr(data, "shape") and hasattr(data, "__getitem__"))


def length(x: Any) -> int:
    """The number of examples of a structure of arrays."""
    return len(keras.tree.flatten(x)[0])


def class_indices(y: Any) -> NDArray[Any]:
    """The classes that one-hot labels name; other labels as they are."""
    labels = np.asarray(y)
    return labels.argmax(-1) if labels.ndim > 1 and labels.shape[-1] > 1 else labels


def _weigh(y: Any, weight: Any, class_weight: Mapping[int, float] | None) -> Any:
    """Sample weights times the weights of the classes that integer or one-hot labels name."""
    if class_weight is None or y is None:
        return weight
    if not isinstance(class_weight, Mapping):
        raise BadInput(f"class_weight must map classes to weights. Received: {class_weight!r}. Write {{0: 1.0, 1: 2.0}}.")
    if keras.tree.is_nested(y):
        raise BadInput("class_weight must go with a single output. Received: labels for several outputs.")
    classes = class_indices(y)
    classes = classes.reshape(len(classes), -1)[:, 0]
    weights = np.array([class_weight.get(int(c), 1.0) for c in classes], "float32")
    return weights if weight is None else np.asarray(weight) * weights
