"""What makes two sweeps the same: quantizers and versions, too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from importlib.metadata import version
from typing import Any

from keras_taylor._graph import ChannelGraph
from keras_taylor._identity import described, described_data, identity_of
from keras_taylor._plan import Constraints
from keras_taylor._quantize.config import Quantizer

_PACKAGES = ("ai-edge-litert", "keras", "keras-taylor", "tensorflow", "tensorflow-model-optimization")


def identity_of_sweep(
    model: Any,
    graph: ChannelGraph,
    data: Mapping[str, Any],
    settings: Mapping[str, Any],
    quantizers: Sequence[Quantizer],
) -> dict[str, Any]:
    """All that must be equal for stored rows to be of the same sweep."""
    return {
        **identity_of(model, graph, data, settings),
        "quantizers": {quantizer.name: _options(quantizer) for quantizer in quantizers},
        "versions": {name: version(name) for name in _PACKAGES},
    }


def described_constraints(constraints: Constraints) -> dict[str, Any]:
    """Constraints as JSON values."""
    return {field.name: described(getattr(constraints, field.name)) for field in fields(constraints)}


def _options(quantizer: Quantizer) -> dict[str, Any]:
    options = {field.name: getattr(quantizer, field.name) for field in fields(quantizer)}
    return {
        name: described_data(value) if name in ("calibration", "data") else described(value) for name, value in options.items()
    }
