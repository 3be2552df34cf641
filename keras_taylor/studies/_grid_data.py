"""The images of study `grid`: checked, resized to a net, and kept as bytes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import tensorflow as tf

from keras_taylor._keras.identity import described_data
from keras_taylor.errors import BadInput, shown, whole_number


@dataclass(frozen=True, eq=False)
class GridData:
    """Images and classes in two parts. The test images measure, and choose nothing.

    Attributes:
        train: images `(n, height, width, 3)`, uint8, red, green and blue from 0 to 255, and classes `(n,)`.
        test: other images and their classes, in the same form.
        classes: number of outputs of a net for them; by default the largest class of `train`, plus one.
    """

    train: tuple[Any, Any]
    test: tuple[Any, Any]
    classes: int | None = None

    def __post_init__(self) -> None:
        for name in ("train", "test"):
            pair = getattr(self, name)
            if not isinstance(pair, (tuple, list)) or len(pair) != 2:
                raise BadInput(f"{name} must be a pair (x, y). Received: {shown(pair)}.")
            x, y = map(np.asarray, pair)
            if x.dtype != np.uint8 or x.ndim != 4 or x.shape[-1] != 3 or not len(x):
                raise BadInput(
                    f"{name} must have images of shape (n, height, width, 3), uint8. Received: {x.dtype}, shape {x.shape}. "
                    "Nets of this study scale pixels of 0 to 255 themselves."
                )
            y = y.argmax(-1) if y.ndim == 2 and y.shape[1] > 1 else y.ravel()
            if len(y) != len(x) or not np.issubdtype(y.dtype, np.integer) or y.min() < 0:
                raise BadInput(
                    f"{name} must have one class of 0 or above for each image. Received: {len(x)} images, labels {shown(y)}."
                )
            object.__setattr__(self, name, (x, y.astype("int64")))
        classes = whole_number("classes", self.classes or int(self.train[1].max()) + 1)
        object.__setattr__(self, "classes", classes)
        largest = max(int(self.train[1].max()), int(self.test[1].max()))
        if largest >= classes:
            raise BadInput(
                f"The head must have an output for each class. Received: {classes} classes to train, and class {largest} in "
                "the data. Train and test must be of one data set; classes must be the number of its classes."
            )

    @property
    def outputs(self) -> int:
        """Number of outputs of a net for them."""
        assert self.classes is not None
        return self.classes

    @cached_property
    def content(self) -> dict[str, Any]:
        """What tells these data from others, as JSON values."""
        return {"train": described_data(self.train), "test": described_data(self.test)}

    def at(self, size: int) -> GridData:
        """The same with images of this height and width."""
        (x, y), (x_test, y_test) = self.train, self.test
        if x.shape[1:3] == x_test.shape[1:3] == (size, size):
            return self
        return GridData((_resized(x, size), y), (_resized(x_test, size), y_test), self.classes)


Source = GridData | Callable[[int], GridData]
"""Data, or a function that reads them for a net whose images have this height and width."""


def checked_sources(data: Any) -> dict[str, Source]:
    """The data by name.

    Raises:
        BadInput: something else.
    """
    if (
        not isinstance(data, Mapping)
        or not data
        or not all(isinstance(one, GridData) or callable(one) for one in data.values())
    ):
        raise BadInput(
            f"data must map names to kt.studies.GridData, at least one. Received: {shown(data)}. Write data={{'flowers': "
            "kt.studies.GridData((x_train, y_train), (x_test, y_test))}."
        )
    return {str(name): one for name, one in data.items()}


class Shelf:
    """Data sets as nets take them; of those that are read by a function only the last one is kept in memory."""

    def __init__(self, sources: Mapping[str, Source]) -> None:
        self.sources = dict(sources)
        self._last: tuple[tuple[str, int], GridData] | None = None

    def get(self, name: str, size: int) -> GridData:
        """A data set with images of this height and width."""
        if self._last is None or self._last[0] != (name, size):
            source = self.sources[name]
            self._last = None  # not two at once
            found = source if isinstance(source, GridData) else source(size)
            self._last = (name, size), found.at(size)
        return self._last[1]


def _resized(x: Any, size: int) -> Any:
    parts = [tf.image.resize(x[start : start + 256], (size, size), antialias=True) for start in range(0, len(x), 256)]
    return np.concatenate([np.clip(np.round(part), 0, 255).astype("uint8") for part in parts])
