"""The nets of study `grid` by name, each with its size, its weights and its maps."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import keras

from keras_taylor._trace.graph import ChannelGraph, trace
from keras_taylor.errors import BadInput, unknown_name
from keras_taylor.studies import _alexnet, _vgg16
from keras_taylor.studies._pretrained import load_file, load_imagenet

TITLES = {"alexnet": "AlexNet", "vgg16": "VGG-16"}
SIZES = {"alexnet": _alexnet.SIZE, "vgg16": _vgg16.SIZE}
_SCRATCH_SPREAD = 58.0
"""About the standard deviation of ImageNet's pixels: what starts from scratch wants small inputs."""


@dataclass(frozen=True)
class Net:
    """A net before it knows its classes.

    Attributes:
        name: `"alexnet"` or `"vgg16"`.
        width: share of the maps.
        size: height and width of the images.
        weights: `"imagenet"`, the path of a file, or None for a start from scratch.
    """

    name: str
    width: float
    size: int
    weights: str | None

    def made(self, classes: int) -> Any:
        """The model, with its weights; what is drawn depends on the seed of Keras."""
        scratch = self.weights is None
        options: dict[str, Any] = {"width": self.width, "size": self.size, "spread": _SCRATCH_SPREAD if scratch else 1.0}
        if self.name == "alexnet":
            model = _alexnet.alexnet(classes, **options)
        else:
            model = _vgg16.vgg16(classes, batch_norm=scratch, **options)
        if self.weights == "imagenet":
            load_imagenet(model)
        elif self.weights is not None:
            load_file(model, self.weights)
        return model

    def settings(self) -> dict[str, Any]:
        """All that it is, as JSON values; the weights by their content."""
        weights = self.weights
        if weights not in (None, "imagenet"):
            weights = hashlib.sha256(Path(str(weights)).read_bytes()).hexdigest()[:16]
        return {**asdict(self), "weights": weights}


def nets_for(
    names: list[str], width: float, size: int | None, weights: Mapping[str, str | None] | None, needs_weights: bool
) -> dict[str, Net]:
    """The nets, with their full size where none is given.

    Args:
        names: of the nets.
        width: share of the maps.
        size: height and width of the images.
        weights: by name of the net.
        needs_weights: whether it must be said which weights a net starts from.

    Raises:
        UnknownName: no net has this name.
        BadInput: names that repeat, or weights that are missing or not known.
    """
    given = dict(weights or {})
    for name in (*names, *given):
        if name not in TITLES:
            raise unknown_name("net", name, TITLES)
    if not names or len(set(names)) < len(names):
        raise BadInput(f"nets must be different, and at least one. Received: {names}.")
    missing = [name for name in names if name not in given]
    if needs_weights and missing:
        raise BadInput(
            f"weights must be given for each net with the paper's recipe. Received: none for {', '.join(missing)}. VGG-16 has "
            "'imagenet'; keras.applications has no AlexNet: give an .npz file with CaffeNet's weights, or None to start from "
            "scratch (on the command line: --weights vgg16=imagenet,alexnet=FILE.npz, or alexnet=none)."
        )
    for name, one in given.items():
        if one == "imagenet" and name != "vgg16":
            raise BadInput(
                f"weights must be a file for {name}. Received: 'imagenet', which keras.applications has for VGG-16 alone."
            )
        if one not in (None, "imagenet") and not Path(str(one)).is_file():
            raise BadInput(f"weights must be 'imagenet', None, or a file that exists. Received: {one!r} for {name}.")
    return {name: Net(name, float(width), size or SIZES[name], given.get(name)) for name in names}


def maps_of(model: Any) -> ChannelGraph:
    """The graph in which the maps of convolutions may go, and nothing else: that is what the paper prunes."""
    graph = trace(model)
    return graph.locking(dense_layers(graph), "only maps of convolutions are pruned")


def count_maps(graph: ChannelGraph) -> int:
    """How many maps there are."""
    return int((graph.locks == "").sum())


def dense_layers(graph: ChannelGraph) -> list[str]:
    """The layers whose outputs are not maps."""
    made_by = {step.call.name: step.call.operation for step in graph.steps}
    return [name for _, name in graph.births if not isinstance(made_by[name], keras.layers.Conv2D)]
