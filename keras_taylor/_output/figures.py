"""Figures: one way to a file."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

from keras_taylor._output.files import write_atomically
from keras_taylor._output.optional import optional
from keras_taylor.errors import BadInput


def write_figure(path: str | Path, draw: Callable[[Any], None], size: tuple[float, float]) -> None:
    """Write what `draw` draws on a figure of this size in inches; the suffix of `path` decides the format.

    Raises:
        BadInput: a suffix other than .svg, .png and .pdf, or a path that cannot be written.
        MissingPackage: matplotlib is not installed.
    """
    if Path(path).suffix not in (".svg", ".png", ".pdf"):
        raise BadInput(f"path of a figure must end with .svg, .png or .pdf. Received: {str(path)!r}.")
    figure = optional("matplotlib.figure", "studies").Figure(figsize=size, layout="constrained")
    draw(figure)
    if Path(path).suffix == ".png":
        write_atomically(path, lambda part: _write_png(figure, part))
    else:
        # Without a date, the same numbers give the same file.
        metadata = {"Date": None} if Path(path).suffix == ".svg" else {}
        write_atomically(path, lambda part: figure.savefig(part, metadata=metadata))


def _write_png(figure: Any, part: str) -> None:
    """With a palette of 256 colours, which makes a figure three times as small and looks the same."""
    from PIL import Image  # matplotlib brings it

    drawn = io.BytesIO()
    figure.savefig(drawn, format="png")
    Image.open(drawn).convert("RGB").quantize(256, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE).save(part, optimize=True)
