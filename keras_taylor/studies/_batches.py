"""Batches of images for training: drawn in random order, mirrored and moved, and made floats only when they are read."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import keras
import numpy as np


class Batches(keras.utils.PyDataset):
    """Full batches of an epoch in random order; the examples that are left over come in another epoch.

    Args:
        x: images, shape `(n, height, width, colours)`, uint8.
        y: classes, shape `(n,)`.
        batch_size: images in a batch; of fewer images, all.
        seed: of the order, and of what is done to each image.
        augment: whether images are mirrored at random, and moved by up to an eighth of their size.
        most: an epoch ends after so many batches.
    """

    def __init__(self, x: Any, y: Any, batch_size: int, seed: int, augment: bool, most: int | None = None) -> None:
        super().__init__()
        self.most = most
        self.x, self.y, self.seed, self.augment = x, y, seed, augment
        self.batch_size = min(batch_size, len(x))
        self.epoch = 0
        self._order = self._drawn()

    def __len__(self) -> int:
        whole = len(self.x) // self.batch_size
        return whole if self.most is None else min(whole, self.most)

    def __getitem__(self, number: int) -> tuple[Any, Any]:
        rows = self._order[number * self.batch_size :][: self.batch_size]
        x = self.x[rows]
        if self.augment:
            x = augmented(x, np.random.default_rng((self.seed, self.epoch, number)), x.shape[1] // 8)
        return x.astype("float32"), self.y[rows]

    def on_epoch_end(self) -> None:
        """Another order."""
        self.epoch += 1
        self._order = self._drawn()

    def endless(self) -> Iterator[tuple[Any, Any]]:
        """Batches of one epoch after the other."""
        while True:
            for number in range(len(self)):
                yield self[number]
            self.on_epoch_end()

    def _drawn(self) -> Any:
        return np.random.default_rng((self.seed, self.epoch)).permutation(len(self.x))


def augmented(x: Any, rng: np.random.Generator, reach: int) -> Any:
    """Each image mirrored or not, and moved by up to `reach` pixels with zeros around."""
    height, width = x.shape[1:3]
    padded = np.pad(x, ((0, 0), (reach, reach), (reach, reach), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (height, width), (1, 2))
    top, left = rng.integers(0, 2 * reach + 1, (2, len(x)))
    moved = windows[np.arange(len(x)), top, left].transpose(0, 2, 3, 1)
    return np.where(rng.random((len(x), 1, 1, 1)) < 0.5, moved[:, :, ::-1], moved)
