"""Models that draw random numbers in inference: equal draws for models that are compared."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from keras.src.random.seed_generator import global_seed_generator

from keras_taylor._keras.model import layers_of


@contextmanager
def equal_draws(*models: Any) -> Iterator[Callable[[], None]]:
    """A function that winds all seed generators of the models, and the one that Keras uses where there is none, back.

    They are wound to one state, so that layers of the same place in two models draw the same. At the end of the block they are
    where they were before it.
    """
    owners = [layer for model in models for layer in layers_of(model)]
    states = [generator.state for layer in owners for generator in layer._seed_generators]
    states = [*{id(state): state for state in [*states, global_seed_generator().state]}.values()]
    before = [state.numpy() for state in states]

    def rewind() -> None:
        for state, value in zip(states, before, strict=True):
            state.assign([1, 0] if value.shape == (2,) else value)

    try:
        yield rewind
    finally:
        for state, value in zip(states, before, strict=True):
            state.assign(value)
