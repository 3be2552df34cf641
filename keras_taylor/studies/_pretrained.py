"""ImageNet's weights for the nets of study `grid`: those of keras.applications, and those in a file of yours."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from keras_taylor._keras.model import layers_of
from keras_taylor.errors import BadInput, in_short, listed

Arrays = Mapping[str, NDArray[Any]]

HEAD = "logits"
_FORM = (
    "Write one with numpy.savez(path, **{'conv1|kernel': ..., 'conv1|bias': ..., 'conv2|kernel': ..., ...}): kernels as Keras "
    "has them (height, width, inputs per group, filters), or 'conv1|weight' as Caffe has them (filters, inputs per group, "
    "height, width)."
)


def load_file(model: Any, path: str | Path) -> None:
    """Give a net the weights in an .npz file; the last layer, the head, stays as it was drawn.

    The file has arrays `LAYER|kernel` in the layout of Keras, or `LAYER|weight` in Caffe's, and `LAYER|bias`. The first layer
    takes blue first, as in Caffe.

    Args:
        model: of `alexnet` (layers conv1 to conv5, fc6 and fc7 in the file) or `vgg16` (block1_conv1 ... fc1, fc2).
        path: of the file.

    Raises:
        BadInput: no such file, or the weights of another net; says which layers have other shapes.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files if "|" in name}
    except (OSError, ValueError, AttributeError, TypeError, zipfile.BadZipFile) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise BadInput(f"weights must be an .npz file of arrays. Received: {str(path)!r} ({reason}). {_FORM}") from None
    if not arrays:
        raise BadInput(f"weights must have arrays named LAYER|kernel and LAYER|bias. Received: none in {str(path)!r}. {_FORM}")
    assign(model, arrays, str(path))


def load_imagenet(model: Any) -> None:
    """Give a `vgg16` the weights of keras.applications, without the head.

    Raises:
        BadInput: they cannot be downloaded (says where to place the file), or the net has another width.
    """
    try:
        source = keras.applications.VGG16(weights="imagenet")
    except Exception as error:  # what a download raises without a network is no one class
        raise BadInput(
            f"VGG-16's weights must be there, or a network to download them. Received: {in_short(error)}. Elsewhere, run "
            "keras.applications.VGG16(), and copy ~/.keras/models/vgg16_weights_tf_dim_ordering_tf_kernels.h5 to the same "
            "folder here ($KERAS_HOME/models, where that is set)."
        ) from None
    arrays = {
        f"{layer.name}|{name}": weight.numpy()
        for layer in source.layers
        if layer.weights and layer.name != "predictions"
        for name, weight in zip(("kernel", "bias"), layer.weights, strict=True)
    }
    assign(model, arrays, "keras.applications.VGG16")


def assign(model: Any, arrays: Arrays, source: str) -> None:
    """Give a net the weights in `arrays`; all of them, or none where they do not fit."""
    layers = [layer for layer in layers_of(model) if isinstance(layer, (keras.layers.Conv2D, keras.layers.Dense))]
    found: list[tuple[Any, NDArray[Any]]] = []
    wrong = []
    for layer in layers:
        for name in ("kernel", "bias"):
            variable = getattr(layer, name)
            if variable is None or layer.name == HEAD:
                continue
            value = _found(arrays, layer, name, _maps(model, layer))
            if value is None or value.shape != tuple(variable.shape):
                came = "nothing" if value is None else str(value.shape)
                wrong.append(f"{layer.name}|{name}: {tuple(variable.shape)} wanted, {came} found")
                continue
            colours = name == "kernel" and layer.input is model.get_layer("pixels").output
            found.append((variable, value[:, :, ::-1] if colours else value))  # blue first there, red first here
    if wrong:
        raise BadInput(
            f"weights must be those of this {model.name} (layers and shapes). Received: {source!r}, where "
            f"{listed(wrong, most=6, what='more differ')}. Other nets of this name, such as torchvision's AlexNet, have other "
            "widths, and no groups; width and size must be those of the full net."
        )
    for variable, value in found:
        variable.assign(value)


def _found(arrays: Arrays, layer: Any, name: str, maps: tuple[int, ...] | None) -> NDArray[Any] | None:
    """The array of a layer in the layout of Keras: that of its own name, or its half of a convolution's."""
    whole, half = layer.name, None
    if whole not in {key.partition("|")[0] for key in arrays} and whole[-1] in "ab":
        whole, half = whole[:-1], "ab".index(whole[-1])
    value = arrays.get(f"{whole}|{name}")
    if value is None and name == "kernel" and f"{whole}|weight" in arrays:
        value = _to_keras(np.asarray(arrays[f"{whole}|weight"]), maps)
    if value is None or half is None:
        return value
    count = value.shape[-1] // 2
    return value[..., :count] if half == 0 else value[..., count:]


def _to_keras(weight: NDArray[Any], maps: tuple[int, ...] | None) -> NDArray[Any]:
    """Caffe's layout in that of Keras. Behind Flatten, Caffe has the maps outside, Keras inside."""
    if weight.ndim == 4:
        return weight.transpose(2, 3, 1, 0)
    if maps is not None and weight.ndim == 2 and weight.shape[1] == np.prod(maps):
        height, width, count = maps
        return weight.reshape(-1, count, height, width).transpose(2, 3, 1, 0).reshape(weight.shape[1], -1)
    return weight.T


def _maps(model: Any, layer: Any) -> tuple[int, ...] | None:
    """Height, width and number of the maps that a Dense layer behind Flatten reads; None for other layers."""
    flatten = model.get_layer("flatten")
    return tuple(flatten.input.shape[1:]) if layer.input is flatten.output else None
