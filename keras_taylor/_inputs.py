"""Unlabelled examples: as one array per model input, checked before they are used."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np

from keras_taylor._data import batches
from keras_taylor._flatten import Call, Program, functional, infer
from keras_taylor.errors import BadInput

_FAR = 5.0
"""Standard deviations, and their ratio, at which inputs count as scaled otherwise than in training."""


def read_inputs(model: Any, program: Program, data: Any, batch_size: int, examples: int, seed: int) -> list[Any]:
    """The examples as one array per model input, shuffled and without duplicates.

    Args:
        model: it says how `data` are read: by position or by name.
        program: the flattened model.
        data: what `fit` takes; labels are ignored.
        batch_size: for arrays.
        examples: at most this many, drawn at random from arrays.
        seed: for the draw and the order.

    Raises:
        BadInput: examples of several shapes, of other shapes than the model's inputs, or not finite.
    """
    given = batches(data, batch_size=batch_size, examples=examples, seed=seed, labels=False)
    columns = [[np.asarray(part) for part in column] for column in zip(*_standard(functional(model), given), strict=True)]
    shapes = [{part.shape[1:] for part in column} for column in columns]
    if any(len(one) > 1 for one in shapes):
        raise BadInput(f"All examples must have one shape. Received: {[sorted(one) for one in shapes]}. Resize them.")
    arrays = [np.concatenate(column) for column in columns]
    wanted = [tensor.shape for tensor in program.inputs]
    found = [array.shape for array in arrays]
    fits = len(found) == len(wanted) and all(
        len(a) == len(b) and all(n in (None, m) for n, m in zip(b[1:], a[1:], strict=True))
        for a, b in zip(found, wanted, strict=True)
    )
    if not fits:
        raise BadInput(f"data must have the model's input shapes. Received: {found}, expected {wanted}.")
    if not all(np.isfinite(array).all() for array in arrays):
        raise BadInput("data must be finite. Received: NaN or infinity.")
    # Copies of one example must not lie on both sides of a split.
    hashes = [hash(b"".join(array[i].tobytes() for array in arrays)) for i in range(len(arrays[0]))]
    distinct = np.sort(np.unique(hashes, return_index=True)[1])
    order = distinct[np.random.default_rng(seed).permutation(len(distinct))]
    return [array[order].astype(t.dtype) for array, t in zip(arrays, program.inputs, strict=True)]


def warn_of_range(program: Program, batch: Any, stacklevel: int = 3) -> None:
    """Warn when the first BatchNormalization sees other inputs than in training: images that are not scaled alike."""
    seen: list[tuple[str, Any, Any, Any, Any]] = []

    def look(call: Call, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        layer = call.operation
        if isinstance(layer, keras.layers.BatchNormalization) and not seen:
            x = np.asarray(args[0], np.float64)
            axes = tuple(a for a in range(x.ndim) if a != layer.axis % x.ndim)
            mean, deviation = layer.moving_mean.numpy(), np.sqrt(layer.moving_variance.numpy() + layer.epsilon)
            if mean.any() or np.ptp(deviation):  # not as they were made, or folded
                seen.append((layer.name, mean, deviation, x.mean(axes), x.std(axes)))
        return infer(call, args, kwargs)

    program.run(batch, look)
    for name, mean, deviation, found_mean, found_deviation in seen:
        shift = float(np.median(np.abs(found_mean - mean) / deviation))
        factor = float(np.median(found_deviation / deviation))
        if shift > _FAR or not 1 / _FAR < factor < _FAR:
            trained, found = (
                f"{np.median(m - 2 * s):.3g} to {np.median(m + 2 * s):.3g}"
                for m, s in ((mean, deviation), (found_mean, found_deviation))
            )
            inputs = ", ".join(f"{np.min(x):.3g} to {np.max(x):.3g}" for x in batch)
            warnings.warn(
                f"The inputs look different from those of training: at {name!r}, values are {found} (training: {trained}), "
                f"their mean is {shift:.1f} standard deviations off, and they spread {factor:.2g} times as much (medians over "
                f"the channels). The inputs are {inputs}. Scale them as in training. "
                "(After a few steps of training the statistics themselves may still be far off.)",
                stacklevel=stacklevel,
            )


def _standard(source: Any, given: Any) -> Iterator[list[Any]]:
    """The inputs of each batch in the model's order, as `predict` takes them."""
    for x, _, _ in given:
        arrays = keras.tree.map_structure(lambda a: None if a is None else keras.ops.convert_to_tensor(a), x)
        yield source._standardize_inputs(arrays)
