"""Unlabelled examples: as one array per model input, checked before they are used."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import keras
import numpy as np

from keras_taylor._keras.batches import Batch, batches
from keras_taylor._keras.model import feed
from keras_taylor._keras.program import Program, functional
from keras_taylor.errors import BadInput, shown


def read_inputs(model: Any, program: Program, data: Any, batch_size: int, examples: int, seed: int) -> list[Any]:
    """The examples as one array per model input, shuffled and without duplicates.

    Args:
        model: the order and the names of its inputs tell which part of `data` is which.
        program: the flattened model.
        data: what `fit` takes, with labels, which are left out, or without.
        batch_size: for arrays.
        examples: at most this many, drawn at random from arrays.
        seed: for the draw and the order.

    Raises:
        BadInput: examples of several shapes, of other shapes than the model's inputs, or not finite.
    """
    given = batches(_as_inputs(model, data), batch_size=batch_size, examples=examples, seed=seed, labels=False)
    columns = [[np.asarray(part) for part in column] for column in zip(*_in_order(model, given), strict=True)]
    shapes = [{part.shape[1:] for part in column} for column in columns]
    if any(len(one) > 1 for one in shapes):
        several = str([sorted(one)[:3] for one in shapes if len(one) > 1])
        raise BadInput(f"All examples must have one shape. Received: {shown(several)}. Resize them.")
    arrays = [np.concatenate(column) for column in columns]
    if not all(np.isfinite(array).all() for array in arrays if np.issubdtype(array.dtype, np.number)):
        raise BadInput("Inputs must be finite. Received: NaN or infinity.")
    # Copies of one example must not lie on both sides of a split.
    hashes = [hash(tuple(_bytes(array[i]) for array in arrays)) for i in range(len(arrays[0]))]
    distinct = np.sort(np.unique(hashes, return_index=True)[1])
    order = distinct[np.random.default_rng(seed).permutation(len(distinct))]
    dtypes = ["object" if tensor.dtype == "string" else tensor.dtype for tensor in program.inputs]
    return [array[order].astype(dtype) for array, dtype in zip(arrays, dtypes, strict=True)]


def _bytes(example: Any) -> bytes:
    return repr(example.tolist()).encode() if example.dtype == object else example.tobytes()  # strings are objects


def first_inputs(model: Any, data: Any, examples: int) -> list[Any]:
    """Some of the examples that data hold, as they are: one array per model input, of the first batch at most."""
    x, _, _ = next(batches(_as_inputs(model, data), batch_size=examples, examples=examples, labels=False))
    return [keras.ops.convert_to_numpy(array) for array in feed(model, x)]


def _as_inputs(model: Any, data: Any) -> Any:
    """As many arrays in a list as the model has inputs, and more than one, are these inputs, as in `predict`."""
    several = isinstance(data, (list, tuple)) and len(data) == len(functional(model).inputs) > 1
    return (data,) if several and all(hasattr(one, "shape") for one in data) else data


def _in_order(model: Any, given: Iterable[Batch]) -> Iterator[list[Any]]:
    """The inputs of each batch in the order of the model's inputs."""
    for x, _, _ in given:
        yield feed(model, keras.tree.map_structure(lambda a: None if a is None else keras.ops.convert_to_tensor(a), x))
