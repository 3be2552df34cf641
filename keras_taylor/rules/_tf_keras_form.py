"""What stands for an operation in quantization-aware training, which knows no Keras 3."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class TFKerasForm:
    """One layer of tf_keras. A chain of them stands for an operation in quantization-aware training, which knows no Keras 3.

    Attributes:
        kind: name of a class in `tf_keras.layers`; None runs the operation itself, which must have no weights then.
        config: what the class is made with.
        weights: the operation's weights, by attribute, in the order in which the tf_keras layer has them.
        role: what LiteRT computes in one go: a `"kernel"`, the `"norm"` after it, and the `"activation"` after these or after
            a `"sum"` (any meeting of tensors). Nothing is rounded in between. Anything else stands alone.
        kernel: attribute of the tf_keras layer that holds the weight which is rounded to 8 bits.
        scale: where the 8-bit scale of the outputs comes from: their `"own"` range, that of the `"input"` (reshaping, maxima),
            or a `"fixed"` one (sigmoid).
    """

    kind: str | None = None
    config: Mapping[str, Any] = field(default_factory=dict)
    weights: tuple[str, ...] = ()
    role: str = ""
    kernel: str = ""
    scale: str = "own"
