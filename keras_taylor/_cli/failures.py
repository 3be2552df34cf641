"""How a command ends that does not end well: one block of text on the standard error stream, and an exit code."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import typer

from keras_taylor.errors import KerasTaylorError

WRONG_INPUT = 2
INTERRUPTED = 130  # what shells expect after Control-C


@contextmanager
def told_in_words(kept_in: Path | None = None) -> Iterator[None]:
    """What the user can mend, and Control-C, are said in words instead of a traceback.

    Args:
        kept_in: the folder from which the same command goes on, if there is one.
    """
    try:
        yield
    except (ValueError, OSError) as error:
        ours = isinstance(error, KerasTaylorError)
        _say("Error", "red", str(error) if ours else f"{error} ({type(error).__name__})")
        raise typer.Exit(WRONG_INPUT) from None
    except KeyboardInterrupt:
        _say("Interrupted", "yellow", f"The same command goes on in {kept_in}." if kept_in else "Run again, it starts anew.")
        raise typer.Exit(INTERRUPTED) from None


def _say(word: str, colour: str, text: str) -> None:
    from rich.console import Console
    from rich.text import Text

    # Not wrapped: paths and names can be copied.
    Console(stderr=True).print(Text.assemble((f"{word}: ", f"bold {colour}"), text), soft_wrap=True)
