"""The rows of a layer's matrix product, at sampled output positions."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from keras_taylor.rules import Linear


class Rows:
    """Reads the inputs of one layer as rows of its matrix product.

    Which input each tap of the window sees at each output position is found out by showing the window an image of indices, so
    strides, dilation, padding and transposition are the layer's own.
    """

    def __init__(self, linear: Linear) -> None:
        self.linear = linear
        self._tables: dict[tuple[int, ...], NDArray[np.int64]] = {}

    def table(self, spatial: tuple[int, ...]) -> NDArray[np.int64]:
        """For each output position and tap which input it sees, shape `(positions, taps)`; 0 is padding, 1 the first."""
        if spatial not in self._tables:
            count = int(np.prod(spatial))
            image = np.arange(1, count + 1, dtype="float32").reshape(1, *spatial, 1)
            if self.linear.window is not None:
                image = np.asarray(self.linear.window(image))
            self._tables[spatial] = np.rint(image).astype(np.int64).reshape(-1, image.shape[-1])
        return self._tables[spatial]

    def positions(self, spatial: tuple[int, ...], most: int, rng: np.random.Generator) -> NDArray[np.int64]:
        """At most `most` output positions, ascending."""
        count = len(self.table(spatial))
        chosen: NDArray[np.int64] = np.arange(count) if count <= most else np.sort(rng.choice(count, most, replace=False))
        return chosen

    def read(self, inputs: Any, positions: NDArray[np.int64]) -> NDArray[Any]:
        """Rows of every example at these positions, shape `(groups, examples * positions, taps * inputs per group)`."""
        x = np.asarray(inputs)
        table = self.table(x.shape[1:-1])[positions]
        flat = np.pad(x.reshape(len(x), -1, x.shape[-1]), ((0, 0), (1, 0), (0, 0)))
        rows: NDArray[Any] = flat[:, table].reshape(-1, table.shape[1], x.shape[-1])
        if self.linear.mix is not None:
            rows = self.linear.mix(rows)
        groups = self.linear.groups
        split = rows.reshape(len(rows), rows.shape[1], groups, -1)
        return split.transpose(2, 0, 1, 3).reshape(groups, len(rows), -1)
