"""What takes batches of one size only, run on any number of examples."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from keras_taylor._keras.program import functional


def own_batch_size(model: Any) -> int | None:
    """The batch size that a functional model's inputs fix; None where it is open."""
    return next((int(x.shape[0]) for x in functional(model).inputs if x.shape[0] is not None), None)


def in_batches(function: Callable[[list[Any]], Sequence[Any]], arrays: Sequence[Any], size: int | None) -> list[Any]:
    """The outputs of `function` for all examples of `arrays`.

    Args:
        function: takes one array per input, and gives one per output.
        arrays: one per input, of one length.
        size: how many examples `function` takes at a time, no more and no less: the last batch is filled up with copies of its
            last example. None for any number.
    """
    total = len(arrays[0])
    if size is None or total == size:
        return list(function(list(arrays)))
    parts = []
    for start in range(0, total, size):
        rows = np.arange(start, start + size).clip(max=total - 1)
        parts.append([x[: total - start] for x in function([np.asarray(x)[rows] for x in arrays])])
    return [np.concatenate(rows) for rows in zip(*parts, strict=True)]
