"""Progress bars like those of `fit`."""

from __future__ import annotations

from typing import Any

import keras

from keras_taylor.errors import BadInput, shown


def verbosity(verbose: Any) -> int:
    """`verbose` as Keras reads it: 0 is silent, 1 a progress bar, 2 a line; `"auto"` is 1.

    Raises:
        BadInput: something else.
    """
    if verbose == "auto":
        return 1
    if verbose not in (0, 1, 2):
        raise BadInput(f"verbose must be 'auto', 0, 1 or 2, as in `fit`. Received: {shown(verbose)}.")
    return int(verbose)


def progress_bar(total: int | None, verbose: Any) -> Any:
    """A `keras.utils.Progbar` of `total` steps (None, where only the end tells) that is silent unless `verbose` is 1."""
    return keras.utils.Progbar(total, verbose=int(verbosity(verbose) == 1))
