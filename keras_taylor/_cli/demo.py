"""`keras-taylor demo`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from keras_taylor._cli.failures import told_in_words
from keras_taylor._output.optional import require


def demo(
    folder: Annotated[
        Path | None, typer.Option(file_okay=False, help="Where the files go; a temporary folder by default.")
    ] = None,
    epochs: Annotated[int, typer.Option(min=1, help="Training epochs, and again fine-tuning epochs.")] = 10,
    target: Annotated[float, typer.Option(min=0.01, max=1.0, help="Fraction of the MACs to keep.")] = 0.5,
    seed: Annotated[int, typer.Option(help="Seed of weights, data order and scoring.")] = 0,
) -> None:
    """Train a small CNN on handwritten digits, prune it to half the MACs, verify it, export it, time it."""
    with told_in_words():
        for module in ("sklearn", "ai_edge_litert"):
            require(module, "demo")
        from keras_taylor._cli.demo_run import run

        code = run(folder, epochs, target, seed)
    raise typer.Exit(code)
