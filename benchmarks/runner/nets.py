"""The nets of nets.toml: weights, images, scaling and loss."""

from __future__ import annotations

import functools
import importlib
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np

import keras_taylor as kt
from keras_taylor._cli.sources.images import SCALED
from keras_taylor.errors import BadInput, unknown_name

try:
    import tomllib
except ImportError:  # Python 3.10; pytest and mypy bring it
    import tomli as tomllib

FILE = Path(__file__).resolve().parent.parent / "nets.toml"
# Folders of the user's, also for the processes that a benchmark starts; `--weights` and `--data` set them.
WEIGHTS, DATA = "KERAS_TAYLOR_WEIGHTS", "KERAS_TAYLOR_DATA"
_LOGITS = {"logits": True, "probabilities": False}


@dataclass(frozen=True)
class Net:
    """A net, and the images that go with it.

    Args:
        name: in nets.toml.
        title: what pages call it, and its images.
        weights: a .keras file in the folder of weights, or none for random weights.
        builder: without weights: the function that makes the net, as `"module:function"`.
        options: of the builder; an empty text is None, which TOML has not.
        data: an .npz file in the folder of data, or none for noise.
        scaling: what becomes of values from 0 to 255: a name in `keras_taylor._cli.sources.images.SCALED`.
        loss: cross-entropy of `"logits"` or of `"probabilities"`.
        judged_by: `"labels"`, or `"agreement"` with the net's own largest output where all images were trained on.
    """

    name: str
    title: str
    weights: str = ""
    builder: str = ""
    options: dict[str, Any] = field(default_factory=dict)
    data: str = ""
    scaling: str = "none"
    loss: str = "logits"
    judged_by: str = "labels"

    def model(self, compiled: bool = True) -> Any:
        """The net, compiled with its loss unless that is not wanted; random weights are the same every time."""
        if self.weights:
            model = keras.models.load_model(_path(WEIGHTS, "--weights", self.weights), compile=False)
        else:
            module, _, function = self.builder.partition(":")
            model = getattr(importlib.import_module(module), function)(
                **{option: None if value == "" else value for option, value in self.options.items()}
            )
            kt.testing.randomize(model)
        if compiled:
            loss = keras.losses.SparseCategoricalCrossentropy(from_logits=_LOGITS[self.loss])
            model.compile(keras.optimizers.SGD(1e-8), loss)
        return model

    def scaled(self, x: Any) -> Any:
        """Images of 0 to 255 as the net takes them, in float32."""
        return np.asarray(SCALED[self.scaling](np.asarray(x, "float32")), "float32")

    def raw(self, part: str) -> tuple[Any, Any]:
        """All images of `"train"` or `"test"`, uint8, and their labels, shape `(n,)`."""
        arrays = _arrays(_path(DATA, "--data", self.data))
        return arrays[f"x_{part}"], arrays[f"y_{part}"].ravel()

    def train(self, count: int, seed: int = 0, skip: int = 0) -> tuple[Any, Any]:
        """So many training images, drawn at random without the first `skip` of the draw, scaled; noise where there are none."""
        rng = np.random.default_rng(seed)
        if not self.data:
            shape = (count, *self.model().input_shape[1:])
            return rng.normal(size=shape).astype("float32"), rng.integers(0, 10, count)
        x, y = self.raw("train")
        rows = rng.permutation(len(x))[skip : skip + count]
        return self.scaled(x[rows]), y[rows]

    def test(self) -> tuple[Any, Any]:
        """All test images, scaled, and what the net should say of them."""
        x, y = self.raw("test")
        x = self.scaled(x)
        return x, y if self.judged_by == "labels" else self.model().predict(x, verbose=0).argmax(-1)


def net_named(name: str) -> Net:
    """The net of this name in nets.toml.

    Raises:
        UnknownName: there is none.
    """
    if name not in all_nets():
        raise unknown_name("A net", name, all_nets())
    return all_nets()[name]


@functools.cache
def all_nets() -> dict[str, Net]:
    """All nets of nets.toml by name."""
    given = tomllib.loads(FILE.read_text(encoding="utf-8"))
    return {name: Net(name, **values) for name, values in given.items()}


@functools.lru_cache(1)
def _arrays(path: Path) -> dict[str, Any]:
    with np.load(path) as archive:
        return {name: archive[name] for name in ("x_train", "y_train", "x_test", "y_test")}


def _path(variable: str, option: str, name: str) -> Path:
    folder = os.environ.get(variable)
    path = Path(folder or ".") / name
    if not folder or not path.is_file():
        raise BadInput(
            f"{option} must be a folder with {name} (benchmarks/README.md says what it is). Received: {folder!r}. "
            f"Pass {option} DIR, or set {variable}."
        )
    return path
