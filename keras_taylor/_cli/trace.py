"""`keras-taylor trace`."""

from __future__ import annotations

import typer

from keras_taylor._cli.failures import told_in_words
from keras_taylor._cli.options import ModelArgument


def trace(model: ModelArgument) -> None:
    """Print the channels of a model: layer groups, MACs, parameters, what is tied to what, what is locked and why."""
    with told_in_words():
        from keras_taylor._cli.models import load
        from keras_taylor._trace.graph import trace as traced

        typer.echo(str(traced(load(model, weights=None, compile=False))))
