"""What Molchanov et al. 2017 published of the two networks on the two data sets, to stand beside study `grid`.

Base accuracies, and the correlations of VGG-16 on Birds, are those of the submitted version. The pruned points and the other
correlations are those of the final version, and could not be checked against its text.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Published:
    """A point.

    Attributes:
        net: name of the net.
        data: a word in the name of the data set.
        maps: share of the maps that is left.
        flops: share of the FLOPs that is left.
        accuracy: on the test set.
    """

    net: str
    data: str
    maps: float
    flops: float
    accuracy: float


POINTS = (
    Published("alexnet", "flowers", 1.0, 1.0, 0.8011),
    Published("alexnet", "flowers", 0.41, 0.4 / 1.46, 0.798),
    Published("alexnet", "flowers", 0.195, 0.2 / 1.46, 0.741),
    Published("vgg16", "birds", 1.0, 1.0, 0.722),
)

# Spearman with the absolute oracle: per layer, all layers as they are, all layers with l2 (OBD was not normalised).
CORRELATIONS: dict[tuple[str, str], dict[str, tuple[float | None, ...]]] = {
    ("alexnet", "flowers"): {
        "magnitude": (0.17, 0.28, 0.13),
        "activation": (0.65, 0.51, 0.63),
        "activation_std": (0.67, 0.53, 0.61),
        "apoz": (0.54, 0.41, 0.60),
        "obd": (0.64, 0.68, None),
        "taylor": (0.77, 0.37, 0.75),
    },
    ("vgg16", "birds"): {
        "magnitude": (0.27, 0.34, 0.33),
        "activation": (0.56, 0.35, 0.64),
        "activation_std": (0.57, 0.30, 0.66),
        "apoz": (0.35, 0.43, 0.51),
        "obd": (0.59, 0.65, None),
        "taylor": (0.73, 0.14, 0.73),
    },
    ("alexnet", "birds"): {
        "magnitude": (0.36, 0.32, 0.23),
        "activation": (0.57, 0.37, 0.54),
        "activation_std": (0.65, 0.51, 0.57),
        "apoz": (0.42, 0.28, 0.49),
        "obd": (0.54, 0.61, None),
        "taylor": (0.81, 0.37, 0.78),
    },
    ("vgg16", "flowers"): {
        "magnitude": (0.19, 0.35, 0.28),
        "activation": (0.51, 0.53, 0.66),
        "activation_std": (0.47, 0.45, 0.65),
        "apoz": (0.36, 0.61, 0.61),
        "obd": (0.21, 0.28, None),
        "taylor": (0.60, 0.02, 0.70),
    },
}


def published(net: str, data: str) -> list[Published]:
    """The points of a net on a data set; those of the paper's flowers stand beside any flowers."""
    return [point for point in POINTS if point.net == net and point.data in data.lower()]


def correlations(net: str, data: str) -> dict[str, tuple[float | None, ...]]:
    """The correlations of a net on a data set; empty for data that the paper does not have."""
    return next((found for (name, word), found in CORRELATIONS.items() if name == net and word in data.lower()), {})
