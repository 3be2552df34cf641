"""The `keras-taylor` command."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import keras
import typer

from keras_taylor import _demo
from keras_taylor._graph import trace

app = typer.Typer(help="Structured pruning for Keras 3.", no_args_is_help=True, add_completion=False)


@app.command()
def demo(
    folder: Annotated[Path | None, typer.Option(help="Where the files go; a temporary folder by default.")] = None,
    epochs: Annotated[int, typer.Option(min=1, help="Training epochs, and again fine-tuning epochs.")] = 10,
    target: Annotated[float, typer.Option(min=0.01, max=1.0, help="Fraction of the MACs to keep.")] = 0.5,
    seed: Annotated[int, typer.Option(help="Seed of weights, data order and scoring.")] = 0,
) -> None:
    """Train a small CNN on handwritten digits, prune it to half the MACs, verify it, export it, time it."""
    with _clear_errors():
        code = _demo.run(folder, epochs, target, seed)
    raise typer.Exit(code)


@app.command("trace")
def show_trace(model: Annotated[Path, typer.Argument(help="A .keras file.")]) -> None:
    """Print the channels of a model: layer groups, MACs, parameters, what is tied to what, what is locked and why."""
    with _clear_errors():
        typer.echo(str(trace(keras.models.load_model(model, compile=False))))


@contextmanager
def _clear_errors() -> Iterator[None]:
    """What the user can mend is said in one line, with exit code 2."""
    try:
        yield
    except (ValueError, OSError) as error:
        typer.secho(f"{type(error).__name__}: {error}", fg="red", err=True)
        raise typer.Exit(2) from None
