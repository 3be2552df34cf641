"""What a file of integers still computes in float."""

from __future__ import annotations

from collections.abc import Collection

from keras_taylor._quantize.tflite_file import TFLiteFile
from keras_taylor.errors import listed, warn
from keras_taylor.litert._operations import float_layers


def say_what_is_float(made: TFLiteFile, names: Collection[str]) -> None:
    """Warn of operations in float, with the layers of these names that they come from."""
    if not made.float_operations:
        return
    found = float_layers(made.content, names)
    parts = [f"{kind}{f' of {listed(map(repr, layers))}' if layers else ''}" for kind, layers in found.items()]
    if parts:
        warn(
            f"The {made.quantizer.name} file of {made.model.name!r} computes in float32: {'; '.join(parts)}. LiteRT has no "
            "integer kernel for it, or the converter does not use it: replace these layers where there must be integers alone."
        )
