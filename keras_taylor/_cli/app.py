"""The `keras-taylor` command: what there is to call.

Neither this module nor one that it imports at its top imports Keras or TensorFlow, which take seconds: help, version and every
mistake in the arguments come at once. A command imports what it works with after its arguments have been checked.
"""

from __future__ import annotations

from importlib.metadata import version
from typing import Annotated

import typer

from keras_taylor._cli import study
from keras_taylor._cli.demo import demo
from keras_taylor._cli.sweep import sweep
from keras_taylor._cli.trace import trace

app = typer.Typer(
    help="Structured pruning for Keras 3.",
    epilog="Example: keras-taylor trace model.keras",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"keras-taylor {version('keras-taylor')}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


app.command(epilog="Example: keras-taylor demo --epochs 5 --folder files")(demo)
app.command(epilog="Example: keras-taylor trace model.keras")(trace)
app.command(
    epilog="Example: keras-taylor sweep --model model.keras --data npz:images.npz --targets 1,0.7,0.5 "
    "--quantizers float32,int8_ptq --epochs 5 --output runs/a"
)(sweep)
app.add_typer(study.app, name="study")
