"""Whether inputs are scaled as in training: judged by the training data where they are known, and by BatchNormalization."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, ParamSpec, TypeVar
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from keras_taylor._keras.inputs import first_inputs
from keras_taylor._keras.program import Call, Program, infer
from keras_taylor.errors import warn
from keras_taylor.rules import rule_for

_P = ParamSpec("_P")
_R = TypeVar("_R")
Range = tuple[float, float]

_SUSPICIOUS = 5.0
"""How many standard deviations the mean may be off, and how many times wider or narrower the spread may be."""
_ALIKE = 1.3
"""The same factor between statistics of a few steps of training and those that such steps lead to."""
_EXAMPLES = 64

_known: WeakKeyDictionary[Any, list[Range]] = WeakKeyDictionary()
_said: ContextVar[list[bool] | None] = ContextVar("said", default=None)


def warns_once(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """Decorator: `warn_of_range` warns at most once in a call of the function, whatever else that calls."""

    @functools.wraps(function)
    def call(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        with _one_call():
            return function(*args, **kwargs)

    return call


@contextmanager
def _one_call() -> Iterator[None]:
    if _said.get() is not None:  # inside another call
        yield
        return
    token = _said.set([])
    try:
        yield
    finally:
        _said.reset(token)


def remember_inputs(model: Any, data: Any) -> None:
    """Keep the ranges of the inputs that a model is trained on, for `warn_of_range`. One-time iterators are left alone."""
    if data is None or isinstance(data, Iterator):
        return
    _known[model] = [_range(array) for array in first_inputs(model, data, _EXAMPLES)]


def inherit_inputs(model: Any, copy: Any) -> None:
    """What is known of a model's training inputs holds for a copy of it, too."""
    if model in _known:
        _known[copy] = _known[model]


def warn_of_range(program: Program, batch: Sequence[Any], model: Any = None) -> None:
    """Warn, once in a call, when a model gets other inputs than in training: images that are not scaled alike.

    Args:
        program: the flattened model.
        batch: examples, one array per input of the model; some of them are used.
        model: the model, whose training inputs may be known.
    """
    text = _other_statistics(program, batch) or _other_range(batch, _known.get(model, []) if model is not None else [])
    said = _said.get()
    if text and not said:
        if said is not None:
            said.append(True)
        warn(text)


def _other_range(batch: Sequence[Any], known: Sequence[Range]) -> str:
    """What to say of inputs that are far wider, narrower or elsewhere than those of training."""
    for array, (low, high) in zip(batch, known, strict=False):
        least, greatest = _range(array)
        spread, found = high - low, greatest - least
        if not spread or not found or not np.issubdtype(np.asarray(array).dtype, np.floating):
            continue
        off = abs(least + greatest - low - high) / 2 / min(spread, found)
        if off > _SUSPICIOUS or not 1 / _SUSPICIOUS < found / spread < _SUSPICIOUS:
            return (
                f"The inputs look different from those of training: they are {least:.3g} to {greatest:.3g} (training: "
                f"{low:.3g} to {high:.3g}). Scale them as in training."
            )
    return ""


@dataclass(frozen=True, eq=False)
class _Statistics:
    """What a BatchNormalization has kept of its inputs, and what it gets now, by channel."""

    name: str
    momentum: float
    mean: NDArray[np.float64]
    deviation: NDArray[np.float64]
    found_mean: NDArray[np.float64]
    found_deviation: NDArray[np.float64]

    @property
    def shift(self) -> float:
        return float(np.median(np.abs(self.found_mean - self.mean) / self.deviation))

    @property
    def factor(self) -> float:
        return float(np.median(self.found_deviation / self.deviation))

    @property
    def unsettled(self) -> bool:
        """Whether a few steps on inputs as they are now would lead from 0 and 1 to what is kept.

        After n steps, statistics have gone `1 - momentum ** n` of the way.
        """
        gone = 1 - self.momentum ** np.arange(1, 1000)
        gone = gone[gone < 1 - 1 / _SUSPICIOUS**2][:, None]
        deviation = np.sqrt(1 - gone + gone * self.found_deviation**2)
        near = np.median(np.abs(gone * self.found_mean - self.mean) / deviation, -1) < _ALIKE - 1
        return bool((near & (np.median(np.abs(np.log(self.deviation / deviation)), -1) < np.log(_ALIKE))).any())


def _other_statistics(program: Program, batch: Sequence[Any]) -> str:
    """What to say when the first BatchNormalization gets other inputs than in training."""
    seen = _first_statistics(program, batch)
    if seen is None:
        return ""
    shift, factor = seen.shift, seen.factor
    if not (shift > _SUSPICIOUS or not 1 / _SUSPICIOUS < factor < _SUSPICIOUS) or seen.unsettled:
        return ""
    trained, found = (
        f"{np.median(m - 2 * s):.3g} to {np.median(m + 2 * s):.3g}"
        for m, s in ((seen.mean, seen.deviation), (seen.found_mean, seen.found_deviation))
    )
    inputs = ", ".join(f"{np.min(x):.3g} to {np.max(x):.3g}" for x in batch)
    return (
        f"The inputs look different from those of training: at {seen.name!r}, values are {found} (training: {trained}), "
        f"their mean is {shift:.1f} standard deviations off, and they spread {factor:.2g} times as much (medians over "
        f"the channels). The inputs are {inputs}. Scale them as in training."
    )


def _first_statistics(program: Program, batch: Sequence[Any]) -> _Statistics | None:
    seen: list[_Statistics] = []

    def look(call: Call, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        rule, _ = rule_for(call.operation)
        statistics = None if seen or rule is None else rule.batch_statistics(call.operation)
        if statistics is not None:
            x = np.asarray(args[0], np.float64)
            axes = tuple(a for a in range(x.ndim) if a != statistics.axis % x.ndim)
            mean, deviation = statistics.mean.numpy(), np.sqrt(statistics.variance.numpy() + statistics.epsilon)
            if mean.any() or np.ptp(deviation):  # not as they were made, or folded
                momentum = float(getattr(call.operation, "momentum", 0.99))
                seen.append(_Statistics(call.operation.name, momentum, mean, deviation, x.mean(axes), x.std(axes)))
        return infer(call, args, kwargs)

    size = program.inputs[0].shape[0]  # a batch size of the model's own
    rows = np.arange(size or min(len(batch[0]), _EXAMPLES)) % len(batch[0])
    program.run([np.asarray(x)[rows] for x in batch], look)
    return seen[0] if seen else None


def _range(array: Any) -> Range:
    numbers = np.asarray(array)
    if not np.issubdtype(numbers.dtype, np.number):
        return 0.0, 0.0
    return float(numbers.min(initial=np.inf)), float(numbers.max(initial=-np.inf))
