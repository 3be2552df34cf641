"""What makes two runs the same: model, data, settings, versions, as JSON values."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_taylor._keras.forms import BatchList


def identity_of(model: Any, structure: str, data: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """All that must be equal for stored results to be of the same model, data and settings."""
    return {
        "model": {
            "name": model.name,
            "structure": structure,
            "options": _options(model),
            "weights": _hash(w.numpy() for w in model.weights),
        },
        "compiled": {
            "loss": described(model.loss),
            "loss weights": described(getattr(getattr(model, "_compile_loss", None), "_user_loss_weights", None)),
            "optimizer": described(model.optimizer),
        },
        "data": {name: described_data(value) for name, value in data.items()},
        "settings": dict(settings),
    }


def described(thing: Any) -> Any:
    """A loss, an optimizer or the like, by its name and its options."""
    if thing is None or isinstance(thing, (str, int, float, bool)):
        return thing
    if hasattr(thing, "get_config"):
        config = thing.get_config()
        config.pop("name", None)  # Keras counts: the second Adam of a process is adam_1
        return {"class": type(thing).__name__, **{name: described(value) for name, value in config.items()}}
    if isinstance(thing, Mapping):
        return {str(name): described(value) for name, value in thing.items()}
    if isinstance(thing, (list, tuple)):
        return [described(value) for value in thing]
    if hasattr(thing, "settings"):
        return {"class": type(thing).__name__, **described(thing.settings())}
    if is_dataclass(thing) and not isinstance(thing, type):
        return {"class": type(thing).__name__, **{one.name: described(getattr(thing, one.name)) for one in fields(thing)}}
    # No repr: that of a function holds its address.
    return getattr(thing, "__qualname__", type(thing).__name__)


def described_data(data: Any) -> Any:
    """Arrays by their content, other data by their kind and length."""
    data = data.given if isinstance(data, BatchList) else data
    if data is None:
        return None
    if isinstance(data, tf.data.Dataset):
        return {"kind": "tf.data.Dataset", "elements": str(data.element_spec), "batches": int(data.cardinality())}
    if isinstance(data, keras.utils.PyDataset):
        return {"kind": type(data).__name__, "batches": data.num_batches}
    if not isinstance(data, (tuple, list, Mapping)) and not hasattr(data, "shape"):
        return {"kind": type(data).__name__}
    arrays = [np.asarray(a) for a in keras.tree.flatten(data) if a is not None]
    return {"arrays": [f"{a.dtype}{list(a.shape)}" for a in arrays], "content": _hash(arrays)}


def _options(model: Any) -> str:
    """A hash of all options of the layers but their names, which Keras counts."""
    options = [described({**layer.get_config(), "dtype": layer.compute_dtype}) for layer in model._flatten_layers()]
    for one in options:
        one.pop("name", None)
        one.pop("layers", None)  # a nested model: its layers come by themselves
    return hashlib.sha256(json.dumps(options, default=str).encode()).hexdigest()[:16]


def _hash(arrays: Any) -> str:
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.dtype}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:16]
