"""Why channels are locked: a closed set of reasons, each with a text of its own for the case at hand."""

from __future__ import annotations

from enum import Enum

from typing_extensions import Self


class LockReason(Enum):
    """The kinds of reasons for which channels may not be removed; the value is the kind in words."""

    MODEL_INPUT = "inputs of the model"
    MODEL_OUTPUT = "outputs of the model"
    NO_RULE = "operations without a rule"
    MIXES_CHANNELS = "operations that mix channels"
    OTHER_AXIS = "channels along another axis than the operation expects"
    CONSTANT = "constants with a value for each channel"
    PICKED = "single channels picked out or repeated"
    BROADCAST = "one channel that serves all"
    SHARED = "layers shared between calls that differ"
    TIED = "weights that several layers use"
    CONFIG = "layers that cannot be made again"
    UNKNOWN_LENGTH = "lengths that are not known before the model runs"
    NOT_FOLLOWED = "channels that cannot be followed"
    OTHER = "other reasons"


class Lock(str):
    """Why a channel is locked: a text for people, and the kind of reason to group by.

    Args:
        detail: the text.
        reason: its kind.

    Example:
        >>> import keras, keras_taylor as kt
        >>> graph = kt.trace(keras.Sequential([keras.Input((5,)), keras.layers.Dense(2, name="logits")]))
        >>> graph.locked["logits"]
        'model output'
        >>> graph.locked["logits"].reason is kt.rules.LockReason.MODEL_OUTPUT
        True
    """

    reason: LockReason

    def __new__(cls, detail: str, reason: LockReason = LockReason.OTHER) -> Self:
        """The text, with its kind."""
        made = super().__new__(cls, detail)
        made.reason = reason
        return made

    def __getnewargs__(self) -> tuple[str, LockReason]:  # type: ignore[override]
        return str(self), self.reason
