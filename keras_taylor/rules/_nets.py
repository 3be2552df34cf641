"""Tiny nets for the examples of rules."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras


def between(*make: Callable[[], Any]) -> list[Any]:
    """One tiny net per layer, with the layer between two convolutions."""
    return [
        keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(6, 3), one(), keras.layers.Conv2D(4, 1)]) for one in make
    ]
