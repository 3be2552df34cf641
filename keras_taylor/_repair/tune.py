"""Joint reconstruction: all layers of a small model at once learn to put out what the original does. No labels."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import keras
import numpy as np
import tensorflow as tf

from keras_taylor._keras.progress import progress_bar
from keras_taylor._repair.augment import augmentation
from keras_taylor._repair.method import RepairMethod, Work
from keras_taylor._repair.reconstruction import Reconstruction, not_finite
from keras_taylor.errors import BadInput, NonFiniteScores, positive, warn, whole_number

_WARM_UP = 30
"""Steps until the full rate: Adam's first ones go as far for a gradient that is noise as for one that is not."""
_JUDGED = 10
"""How often the small model is judged."""
_TIMED = 3
"""Steps that tell how long a pass takes."""


@dataclass(frozen=True, eq=False)
class Tune(RepairMethod):
    """`"tune"`: all layers of the small model at once learn to put out what the original does. No labels.

    The distance is the sum, over every place where channels are read and over the outputs, of
    `|small - original[kept]|^2 / |original[kept]|^2` in a batch, with BatchNormalization as in inference. Adam minimises it,
    after a short warm-up at a rate that falls linearly to 0. What agreed best with the original on held-back examples stays:
    the weights at the start, if nothing was better. Alone it begins with `"lstsq"`. It takes minutes, not seconds.

    Args:
        passes: over the examples, at most.
        seconds: budget of time, judging included; the rate falls to 0 by then. Where it is too short for one pass, that is
            said, and the result of the method before stays. None: no budget.
        learning_rate: of Adam after its warm-up.
        batch_size: examples per step.
        augment: `"images"` (flips and shifts of inputs that are images), None, or a function that takes a batch of what the
            model takes and returns the same shapes. Labels are not needed, so any input is fair.
        weights: what counts more or less than 1, by name of the layer that reads; outputs are called `"output of head"`.

    Raises:
        BadInput: a value that cannot be used.

    Example:
        >>> import keras_taylor as kt
        >>> kt.Recipe(repair=kt.repairs.Tune(seconds=60)).repair.passes
        40
    """

    passes: int = 40
    seconds: float | None = None
    learning_rate: float = 3e-3
    batch_size: int = 32
    augment: Any = "images"
    weights: Mapping[str, float] | None = None

    name: ClassVar[str] = "tune"
    first: ClassVar[tuple[str, ...]] = ("lstsq",)

    def __post_init__(self) -> None:
        for name in ("passes", "batch_size"):
            object.__setattr__(self, name, whole_number(name, getattr(self, name)))
        positive("learning_rate", self.learning_rate)
        if self.seconds is not None:
            positive("seconds", self.seconds)
        if self.augment not in (None, "images") and not callable(self.augment):
            raise BadInput(f"augment must be 'images', a function, or None. Received: {self.augment!r}.")

    def apply(self, work: Work) -> int:
        clock = _Clock(self.seconds)
        objective = Reconstruction(work.graph, work.keep, work.small, self.weights)
        count = len(work.inputs[0])
        size = min(self.batch_size, count)
        steps = count // size
        rng = np.random.default_rng(work.options.seed)
        augment = augmentation(self.augment, work.small.program.inputs, work.options.seed)
        with _Trainable(work.small.model, work.options.frozen) as variables:
            if not variables:
                return 0
            step = _Step(objective, variables, self.learning_rate)
            best, kept = work.judge(), [v.numpy() for v in variables]
            bar = progress_bar(self.passes * steps, work.options.verbose)
            warm_up = min(_WARM_UP, max(self.passes * steps // 10, 1))
            done, fraction, judged = 0, 0.0, 0
            while fraction < 1.0:
                first = done % steps * size
                if first == 0:
                    order = rng.permutation(count)
                batch = augment([keras.ops.convert_to_tensor(x[order[first : first + size]]) for x in work.inputs])
                if done == 0:
                    _check(objective, batch)
                distance = float(step(batch, min((done + 1) / warm_up, 1.0 - fraction)))
                done += 1
                if done <= steps and clock.too_short(done, steps):
                    if not work.optional:
                        warn(clock.shortage(done, steps))
                    _assign(variables, kept)
                    return 0
                fraction = max(done / (self.passes * steps), clock.spent())
                bar.update(done, [("distance", distance)], finalize=fraction >= 1.0)
                if not math.isfinite(distance):
                    warn(
                        f"Tuning diverged at step {done}: the best weights before that stay. "
                        f"Use a lower rate than {self.learning_rate}."
                    )
                    break
                if int(fraction * _JUDGED) > judged:
                    judged, found = int(fraction * _JUDGED), work.judge()
                    if found < best:
                        best, kept = found, [v.numpy() for v in variables]
            _assign(variables, kept)
        return -(-done // steps)


def _check(objective: Reconstruction, batch: Sequence[Any]) -> None:
    wrong = not_finite(objective.places, objective.targets(batch))
    if wrong:
        raise NonFiniteScores(
            f"What the original puts out must be finite. Received: NaN or infinity at {wrong}. "
            "Repair with inputs as in training."
        )


class _Clock:
    """The budget of time, from the moment when this is made."""

    def __init__(self, seconds: float | None) -> None:
        self._seconds = math.inf if seconds is None else seconds
        self._began = time.perf_counter()
        self._compiled = 0.0

    def spent(self) -> float:
        """The share of the budget that is gone."""
        return self._now() / self._seconds

    def too_short(self, done: int, steps: int) -> bool:
        """Whether the first pass will not fit, as far as the steps that are done tell."""
        if done == 1:
            self._compiled = self._now()  # the first step compiles
        return self._needed(done, steps) > self._seconds and (done > _TIMED or self._now() > self._seconds)

    def shortage(self, done: int, steps: int) -> str:
        """What to say then."""
        return (
            f"seconds must suffice for one pass to tune. Received: {self._seconds:g}, at least {self._needed(done, steps):.2g} "
            "needed. The model stays as it was before."
        )

    def _needed(self, done: int, steps: int) -> float:
        return self._now() + (self._now() - self._compiled) / max(done - 1, 1) * (steps - done)

    def _now(self) -> float:
        return time.perf_counter() - self._began


class _Step:
    """One step of Adam, compiled."""

    def __init__(self, objective: Reconstruction, variables: Sequence[Any], rate: float) -> None:
        self._objective, self._variables, self._rate = objective, list(variables), rate
        self._adam = keras.optimizers.Adam(rate)
        self._scaler: Any = None
        if any(layer.compute_dtype == "float16" for layer in objective.layers()):
            self._scaler = keras.optimizers.LossScaleOptimizer(self._adam)
        self._optimizer: Any = self._scaler or self._adam
        self._optimizer.build(self._variables)
        self._compiled = tf.function(self._run)

    def __call__(self, batch: Sequence[Any], fraction: float) -> Any:
        """Change the variables at this fraction of the rate; the sum of distances before that."""
        self._adam.learning_rate.assign(self._rate * fraction)
        return self._compiled(list(batch))

    def _run(self, batch: Sequence[Any]) -> Any:
        targets = self._objective.targets(batch)
        values = [v.value for v in self._variables]
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(values)
            distance = tf.reduce_sum(self._objective.distances(batch, targets))
            loss = self._scaler.scale_loss(distance) if self._scaler else distance
        found = tape.gradient(loss, values)
        pairs = [(g, v) for g, v in zip(found, self._variables, strict=True) if g is not None]
        self._optimizer.apply([g for g, _ in pairs], [v for _, v in pairs])
        return distance


class _Trainable:
    """The variables to tune; with `frozen`, all layers are trainable until the end of the block."""

    def __init__(self, model: Any, frozen: bool) -> None:
        self._model = model
        self._flags = {layer: layer.trainable for layer in model.layers} if frozen else {}

    def __enter__(self) -> list[Any]:
        for layer in self._flags:
            layer.trainable = True
        return list(self._model.trainable_variables)

    def __exit__(self, *error: Any) -> None:
        for layer, flag in self._flags.items():
            layer.trainable = flag


def _assign(variables: Sequence[Any], values: Sequence[Any]) -> None:
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)
