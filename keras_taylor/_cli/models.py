"""The model that a command names, compiled if it is not."""

from __future__ import annotations

from typing import Any

import keras

from keras_taylor._cli.options import application_of
from keras_taylor.errors import unknown_name


def load(model: str, weights: str | None = "imagenet", compile: bool = True) -> Any:
    """The model in a .keras file, or the one that `applications:NAME` names.

    Args:
        model: a path, or `applications:NAME`.
        weights: of a model of `keras.applications`; None for random ones, which need no download.
        compile: whether a stored model is compiled as it was when it was saved.

    Raises:
        UnknownName: `keras.applications` has no such model.
    """
    name = application_of(model)
    if name is None:
        return keras.models.load_model(model, compile=compile)
    builders = [found for found in dir(keras.applications) if callable(getattr(keras.applications, found))]
    if name not in builders:
        raise unknown_name("The model of keras.applications", name, builders)
    return getattr(keras.applications, name)(weights=weights)


def compiled(model: Any, learning_rate: float | None = None) -> Any:
    """The model, compiled as a classifier if it is not compiled, or with Adam at another learning rate if one is given."""
    if model.compiled and learning_rate is None:
        return model
    # The activation of the last layer decides; without one, or with a linear one, the outputs are logits.
    last = getattr(model.layers[-1], "activation", None)
    softmax = isinstance(model.layers[-1], keras.layers.Softmax) or getattr(last, "__name__", "") == "softmax"
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=not softmax)
    optimizer = keras.optimizers.Adam(learning_rate or 1e-3)
    model.compile(optimizer, model.loss if model.compiled else loss, metrics=["accuracy"])
    return model
