"""Half precision in a model, and configs without it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import keras

from keras_taylor._keras.model import layers_of


def half_precision(layer: Any) -> str:
    """The half precision that a layer, or one inside it, computes or keeps its weights in; an empty string for none."""
    inside = layers_of(layer) if isinstance(layer, keras.layers.Layer) else ()
    found = (_half(policy) for one in inside for policy in (one.compute_dtype, one.variable_dtype))
    return next((name for name in found if name), "")


def set_float32(layer: Any) -> None:
    """Let a layer that is not built yet, and those inside it, compute in float32 where they would in half precision."""
    for one in layers_of(layer) if isinstance(layer, keras.layers.Layer) else ():
        if _half(one.compute_dtype) or _half(one.variable_dtype):
            one.dtype_policy = "float32"


def float32_config(config: Any, key: str = "") -> Any:
    """The config of a layer with float32 in the place of every policy and dtype of half precision, at any depth."""
    if isinstance(config, keras.DTypePolicy):
        return "float32" if _half(config.name) else config
    if isinstance(config, Mapping):
        if "DTypePolicy" in str(config.get("class_name")) and _half(str(config.get("config"))):
            return "float32"
        return {name: float32_config(value, str(name)) for name, value in config.items()}
    if isinstance(config, (list, tuple)):
        return type(config)(float32_config(value, key) for value in config) if type(config) in (list, tuple) else config
    return "float32" if "dtype" in key and isinstance(config, str) and _half(config) else config


def _half(name: str) -> str:
    """The half precision that the name of a dtype or of a policy holds."""
    found = re.search("b?float16", name)
    return found.group() if found else ""
