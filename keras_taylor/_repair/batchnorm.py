"""BatchNormalization statistics, measured again, layer by layer, in place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from keras_taylor._keras.program import Call, infer
from keras_taylor._keras.progress import progress_bar
from keras_taylor._repair.consumers import changed_steps, locked, paired_statistics, paired_steps
from keras_taylor._repair.method import RepairMethod, Work
from keras_taylor._repair.stepwise_run import StepwiseRun
from keras_taylor.errors import NonFiniteScores
from keras_taylor.rules import BatchStatistics, Step


@dataclass(frozen=True)
class BatchNorm(RepairMethod):
    """`"batchnorm"`: the statistics of every BatchNormalization whose inputs pruning changed are measured again.

    Its outputs get the mean and the variance that the original's have on the same data. For statistics that are those of the
    data this is measuring them again; where they are not (folded into the kernels, measured on augmented images), what the
    original's outputs owe to the difference is kept.

    Example:
        >>> import keras_taylor as kt
        >>> kt.repairs.BatchNorm().name
        'batchnorm'
    """

    name: ClassVar[str] = "batchnorm"

    def apply(self, work: Work) -> int:
        norms = _changed_norms(work)
        reading = {id(step.call): (norm, _Moments()) for norm in norms for step in norm.steps}

        def measured(call: Call, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            if id(call) in reading:
                norm, moments = reading[id(call)]
                moments.add(args[0], norm.original.axis, norm.kept)
            return infer(call, args, kwargs)

        batches = work.batches()
        for batch in batches:
            work.graph.program.run(batch, measured)
        run = StepwiseRun(work.small.program, batches)
        bar = progress_bar(len(norms), work.verbose)
        for done, norm in enumerate(norms):
            run.advance(norm.twins[0].call)
            there, here = _Moments(), _Moments()
            for step, twin in zip(norm.steps, norm.twins, strict=True):
                there.join(reading[id(step.call)][1])
                for number in range(len(batches)):
                    here.add(run.peek(number, twin.call.inputs[0]), norm.small.axis)
            if not (np.isfinite(here.squares).all() and np.isfinite(there.squares).all()):
                raise NonFiniteScores(
                    "Activations that repair reads must be finite. Received: NaN or infinity in the inputs of "
                    f"{norm.steps[0].call.name!r}."
                )
            _match(norm, there, here)
            bar.update(done + 1)
        return 2


@dataclass(frozen=True, eq=False)
class _Norm:
    """A BatchNormalization whose statistics are measured again.

    Attributes:
        steps: its calls in the original.
        twins: its calls in the small model.
        original: its statistics in the original.
        small: its statistics in the small model.
        kept: positions of the original's channels that the small model still has.
    """

    steps: list[Step]
    twins: list[Step]
    original: BatchStatistics
    small: BatchStatistics
    kept: Any


def _changed_norms(work: Work) -> list[_Norm]:
    """Every BatchNormalization whose inputs pruning changed, in the order in which the small model runs them."""
    graph, keep, small = work.graph, work.keep, work.small
    changed = changed_steps(graph, keep)
    found = []
    for steps, twins in paired_steps(graph, small):
        statistics = paired_statistics(steps[0], twins[0])
        if statistics is None or locked(graph, steps[0]) or not (steps[0].call.operation.trainable or work.frozen):
            continue
        if any(id(step) in changed for step in steps):
            found.append(_Norm(steps, twins, *statistics, steps[0].outputs[0].kept(keep)))
    order = {id(step): number for number, step in enumerate(small.steps)}
    return sorted(found, key=lambda norm: order[id(norm.twins[0])])


def _match(norm: _Norm, there: _Moments, here: _Moments) -> None:
    """Write statistics with which the outputs get the mean and the variance that the original's have."""
    mean = norm.original.mean.numpy()[norm.kept]
    variance = norm.original.variance.numpy()[norm.kept] + norm.original.epsilon
    alive = there.variance() > 1e-12 * variance
    ratio = np.where(alive, here.variance() / np.where(alive, there.variance(), 1.0), 1.0)
    norm.small.mean.assign((here.mean() - np.sqrt(ratio) * (there.mean() - mean)).astype("float32"))
    norm.small.variance.assign(np.maximum(variance * ratio - norm.original.epsilon, 0.0).astype("float32"))


class _Moments:
    """Mean and variance of channels, summed up batch by batch in float64."""

    def __init__(self) -> None:
        self.count = 0
        self.total: Any = 0.0
        self.squares: Any = 0.0

    def add(self, values: Any, axis: int, kept: Any = slice(None)) -> None:
        """Add a batch, of which the channels `kept` along `axis` count."""
        x = np.moveaxis(np.asarray(values, np.float64), axis, -1)
        x = x.reshape(-1, x.shape[-1])[:, kept]
        self.count += len(x)
        self.total = self.total + x.sum(axis=0)
        self.squares = self.squares + (x**2).sum(axis=0)

    def join(self, other: _Moments) -> None:
        """Add what another one has summed up."""
        self.count += other.count
        self.total = self.total + other.total
        self.squares = self.squares + other.squares

    def mean(self) -> Any:
        return self.total / self.count

    def variance(self) -> Any:
        return np.maximum(self.squares / self.count - self.mean() ** 2, 0.0)
