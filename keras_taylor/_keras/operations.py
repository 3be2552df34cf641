"""The operation classes behind `keras.ops`, and the layers that `keras.applications` keeps to itself."""

from __future__ import annotations

from keras.src import ops as _ops
from keras.src.applications.convnext import LayerScale as LayerScale
from keras.src.applications.convnext import StochasticDepth as StochasticDepth
from keras.src.applications.inception_resnet_v2 import CustomScaleLayer as CustomScaleLayer


def operations(names: str) -> list[type]:
    """The classes of these names, separated by spaces; a name that this Keras does not have is left out."""
    homes = (_ops.numpy, _ops.nn, _ops.math, _ops.core)
    found = (next((getattr(home, name) for home in homes if hasattr(home, name)), None) for name in names.split())
    return [kind for kind in found if kind is not None]


def operation(name: str) -> type:
    """The class of this name, in every Keras that this package supports."""
    (kind,) = operations(name)
    return kind
