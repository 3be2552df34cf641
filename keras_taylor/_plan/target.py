"""The budget."""

from __future__ import annotations

import numbers
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from keras_taylor.errors import BadInput, whole_number

_BUDGETS = ("macs", "params", "channels")


LATENCY = "latency_ns"
"""The budget behind `Target(latency=)` and `Target(latency_ms=)`: predicted nanoseconds."""


@dataclass(frozen=True, repr=False)
class Target:
    """A hard budget: the plan never lands above it.

    Args:
        macs: multiply-accumulates per example. A number in (0, 1] is a fraction of the unpruned model, a whole number above 1
            is absolute (1 MAC is 1). The two others are read in the same way. All kernels of the model count, those of
            operations without a rule, too (see `kt.trace`).
        params: parameters, trainable or not.
        channels: feature maps: the filters and units of all producers.
        latency: time of one example in LiteRT on this machine, as a fraction in (0, 1] of the unpruned file's.
        latency_ms: the same in milliseconds.
        quantizer: the precision of the file whose latency counts, as `kt.quantize` takes it; None is float32.
        threads: of the interpreter that is timed.
        allow_uncounted: accept that `macs` leaves out operations which cannot be counted (`kt.trace(model).uncounted`); without
            it such a model is refused. Other budgets know no such gap.

    Raises:
        BadInput: no budget at all, or a number that is neither a fraction nor a count.

    Example:
        >>> import keras_taylor as kt
        >>> kt.Target(macs=0.5, params=1_000_000)
        Target(macs=0.5, params=1000000)
        >>> kt.Target(latency=0.5, quantizer=kt.Float16())
        Target(latency=0.5, quantizer=Float16(), threads=1)
    """

    macs: float | int | None = None
    params: float | int | None = None
    channels: float | int | None = None
    latency: float | None = None
    latency_ms: float | None = None
    quantizer: Any = None
    threads: int = 1
    allow_uncounted: bool = False

    def __post_init__(self) -> None:
        given = self._given((*_BUDGETS, "latency", "latency_ms"))
        if not given:
            raise BadInput(
                "Target must have a budget. Received: none of macs, params, channels, latency. Try Target(macs=0.5)."
            )
        for name, value in given.items():
            real = isinstance(value, numbers.Real) and not isinstance(value, bool)
            positive = real and 0 < float(value) < float("inf")
            if name in _BUDGETS and not (positive and (value <= 1 or value == int(value))):
                raise BadInput(
                    f"Target({name}=) must be a fraction in (0, 1] or a whole number above 1. Received: {name}={value!r}."
                )
            if not positive or (name == "latency" and value > 1):
                kind = "a fraction in (0, 1]; latency_ms= takes milliseconds" if name == "latency" else "a positive number"
                raise BadInput(f"Target({name}=) must be {kind}. Received: {name}={value!r}.")
        if len(self._given(("latency", "latency_ms"))) > 1:
            raise BadInput(f"Target must have one of latency and latency_ms. Received: {self}. Leave one out.")
        if self.quantizer is not None and not self.timed:
            raise BadInput(
                f"Target(quantizer=) must go with a latency. Received: {self}. Quantize the result with kt.quantize."
            )
        object.__setattr__(self, "threads", whole_number("Target(threads=)", self.threads))
        if not isinstance(self.allow_uncounted, bool):
            raise BadInput(f"Target(allow_uncounted=) must be True or False. Received: {self.allow_uncounted!r}.")

    @property
    def timed(self) -> bool:
        """Whether a latency is among the budgets."""
        return bool(self._given(("latency", "latency_ms")))

    def absolute(self, totals: Mapping[str, int]) -> dict[str, float]:
        """The budgets as numbers, given the unpruned totals."""
        budgets = {name: value * totals[name] if value <= 1 else float(value) for name, value in self._given(_BUDGETS).items()}
        if self.latency is not None:
            budgets[LATENCY] = self.latency * totals[LATENCY]
        if self.latency_ms is not None:
            budgets[LATENCY] = self.latency_ms * 1e6
        return budgets

    def _given(self, names: Sequence[str]) -> dict[str, Any]:
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}

    def __repr__(self) -> str:
        parts = [f"{name}={value!r}" for name, value in self._given((*_BUDGETS, "latency", "latency_ms")).items()]
        if self.timed:
            parts += [f"quantizer={self.quantizer!r}", f"threads={self.threads}"]
        if self.allow_uncounted:
            parts.append("allow_uncounted=True")
        return f"Target({', '.join(parts)})"
