"""The repair methods: each changes the weights of a small model in place, layer by layer, by looking at unlabelled inputs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from keras_taylor._flatten import Call, infer
from keras_taylor._graph import ChannelGraph
from keras_taylor._repair.consumers import Consumer, Residual
from keras_taylor._repair.frontier import Batches, Frontier
from keras_taylor._repair.normal import NormalEquations
from keras_taylor._repair.rows import Rows
from keras_taylor.errors import NonFiniteScores


@dataclass(frozen=True)
class Fit:
    """How layers are refitted.

    Attributes:
        ridge: pull towards the old kernel, relative to the mean variance of the inputs; infinity moves the bias alone.
        rows: rows per unknown that are sampled, at least; 0 reads every position.
        residual: fit towards the original's sum where a layer's outputs go into one, not towards its branch.
        seed: for the sampled positions.
        progress: called with the number of finished passes and the number of all.
    """

    ridge: float
    rows: int
    residual: bool
    seed: int
    progress: Callable[[int, int], None]


def refit(graph: ChannelGraph, small: ChannelGraph, found: Sequence[Consumer], batches: Batches, fit: Fit) -> int:
    """Refit the consumers one after the other: inputs from the small model as repaired so far, targets from the original.

    One pass of the original over the data gives the targets of all layers at the sampled positions. One pass of the small model
    stops before each layer, refits it, and goes on.

    Returns:
        The number of passes over the data, 2.
    """
    images = sum(len(batch[0]) for batch in batches)
    fittings = [_Fitting(consumer, images, fit) for consumer in found]
    reading = {id(a): fitting for fitting in fittings for a, _ in fitting.consumer.calls}
    pending = {id(call) for fitting in fittings for _, call in fitting.consumer.calls}
    sums: dict[int, tuple[_Fitting, Residual]] = {}
    for fitting in fittings:
        pending -= {id(call) for _, call in fitting.consumer.calls}
        residual = fitting.consumer.residual if fit.residual else None
        # Only the branch that is refitted last can make up for the others: they must be final by then.
        if residual is not None and not pending & {id(c) for c in small.program.ancestors(residual.others[1])}:
            fitting.residual = residual
            sums[id(residual.call[0])] = fitting, residual

    def noted(call: Call, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if id(call) in reading:
            reading[id(call)].note(call, args[0])
        if id(call) in sums:
            fitting, residual = sums[id(call)]
            values = dict(zip((t.index for t in call.inputs), keras.tree.flatten((args, kwargs)), strict=True))
            fitting.note_others([values[t.index] for t in residual.others[0]])
        return infer(call, args, kwargs)

    for batch in batches:
        graph.program.run(batch, noted)
    frontier = Frontier(small.program, batches)
    for done, fitting in enumerate(fittings):
        frontier.advance(fitting.consumer.calls[0][1])
        for number in range(len(batches)):
            others = fitting.residual.others[1] if fitting.residual else ()
            fitting.add_others(number, [frontier.peek(number, tensor) for tensor in others])
            for original, twin in fitting.consumer.calls:
                fitting.add(original, number, frontier.peek(number, twin.inputs[0]))
        fitting.finish(fit)
        fit.progress(done + 1, len(fittings))
    return 2


class _Fitting:
    """One layer while its rows come in."""

    def __init__(self, consumer: Consumer, images: int, fit: Fit) -> None:
        self.consumer = consumer
        self.original, self.small = Rows(consumer.linear), Rows(consumer.linear_small)
        groups = consumer.linear.groups
        whole = consumer.linear.to_matrix(_array(getattr(consumer.original, consumer.linear.kernel)))
        kept = [np.flatnonzero(consumer.kept_out // whole.shape[2] == g) for g in range(groups)]
        self.target = [whole[g][:, consumer.kept_out[kept[g]] % whole.shape[2]] for g in range(groups)]
        self.old = consumer.linear_small.to_matrix(_array(getattr(consumer.small, consumer.linear_small.kernel)))
        self.sums = [NormalEquations(*self.old.shape[1:]) for _ in range(groups)]
        wanted = max(fit.rows * self.old.shape[1], 20_000) if fit.rows else 2**62
        self.most = -(-wanted // (images * len(consumer.calls)))
        self.rng = np.random.default_rng(fit.seed)
        self.residual: Residual | None = None
        self.targets: dict[int, list[tuple[Any, list[Any]]]] = {id(call): [] for call, _ in consumer.calls}

    def note(self, call: Call, inputs: Any) -> None:
        """Targets of one batch: what the original makes of its inputs, at sampled positions."""
        x = _array(inputs)
        positions = self.original.positions(x.shape[1:-1], self.most, self.rng)
        rows = self.original.read(x, positions)
        found = [one.astype(np.float64) @ target for one, target in zip(rows, self.target, strict=True)]
        self.targets[id(call)].append((positions, [one.astype(np.float32) for one in found]))

    def note_others(self, others: Sequence[Any]) -> None:
        """The original's other operands of the sum, in units of this layer's outputs, at the positions of the last batch."""
        positions, targets = next(iter(self.targets.values()))[-1]
        self._move(targets, positions, others, self.consumer.kept_out, 1.0)

    def add_others(self, batch: int, others: Sequence[Any]) -> None:
        """What the small model's other operands have already is not this layer's to do."""
        if others:
            positions, targets = next(iter(self.targets.values()))[batch]
            self._move(targets, positions, others, slice(None), -1.0)

    def _move(self, targets: list[Any], positions: Any, others: Sequence[Any], kept: Any, sign: float) -> None:
        total = sum(_array(one).reshape(len(one), -1, one.shape[-1])[:, positions][..., kept] for one in others)
        scale = 1.0
        if self.consumer.norm is not None:
            norm = self.consumer.norm[1]
            gamma = _array(norm.gamma) if norm.gamma is not None else 1.0
            scale = gamma / np.sqrt(_array(norm.moving_variance) + norm.epsilon)
        total = sign * total / np.where(np.abs(scale) < 1e-3, np.inf, scale)
        start = 0
        for one in targets:
            one += total.reshape(len(one), -1)[:, start : start + one.shape[1]]
            start += one.shape[1]

    def add(self, call: Call, batch: int, inputs: Any) -> None:
        """The same batch in the small model."""
        positions, targets = self.targets[id(call)][batch]
        for sums, rows, target in zip(self.sums, self.small.read(_array(inputs), positions), targets, strict=True):
            sums.add(rows, target)

    def finish(self, fit: Fit) -> None:
        """Solve, and write the weights."""
        consumer = self.consumer
        self.targets.clear()
        if not all(np.isfinite(sums.xy).all() and np.isfinite(sums.xx).all() for sums in self.sums):
            raise NonFiniteScores(
                f"Activations that repair reads must be finite. Received: NaN or infinity in the inputs of {consumer.name!r}."
            )
        has_bias = getattr(consumer.small, "bias", None) is not None
        intercept = has_bias or consumer.norm is not None
        new = self.old.astype(np.float64)
        if np.isfinite(fit.ridge):
            new = np.stack(
                [sums.solve(old, fit.ridge, intercept, consumer.name) for sums, old in zip(self.sums, new, strict=True)]
            )
            kernel = getattr(consumer.small, consumer.linear_small.kernel)
            kernel.assign(consumer.linear_small.from_matrix(kernel.numpy(), new).astype("float32"))
        if intercept:
            shift = np.concatenate([sums.shift(one) for sums, one in zip(self.sums, new, strict=True)])
            if has_bias:
                consumer.small.bias.assign((_array(consumer.original.bias)[consumer.kept_out] + shift).astype("float32"))
            else:
                # The layer has no bias: a shift of its output is a shift of the mean that the normalisation takes off.
                before, norm = consumer.norm  # type: ignore[misc]
                norm.moving_mean.assign((_array(before.moving_mean)[consumer.kept_out] - shift).astype("float32"))


def recalibrate(small: ChannelGraph, batches: Batches) -> int:
    """Set the statistics of every BatchNormalization to those of the data, each layer reading what comes out before it.

    Returns:
        The number of passes over the data, 1.
    """
    sums: dict[int, list[Any]] = {}

    def measured(call: Call, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        layer = call.operation
        if not (hasattr(layer, "moving_mean") and hasattr(layer, "moving_variance") and layer.trainable):
            return infer(call, args, kwargs)
        x = _array(args[0]).astype(np.float64)
        axes = tuple(a for a in range(x.ndim) if a != layer.axis % x.ndim)
        count = x.size // x.shape[layer.axis]
        total = sums.setdefault(id(layer), [layer, 0, 0.0, 0.0])
        total[1:] = [total[1] + count, total[2] + x.sum(axes), total[3] + (x**2).sum(axes)]
        saved = layer.moving_mean.numpy(), layer.moving_variance.numpy()
        _set_statistics(*total)
        try:
            return infer(call, args, kwargs)
        finally:
            layer.moving_mean.assign(saved[0])
            layer.moving_variance.assign(saved[1])

    for batch in batches:
        small.program.run(batch, measured)
    for total in sums.values():
        _set_statistics(*total)
    return 1


def _set_statistics(layer: Any, count: int, total: Any, squares: Any) -> None:
    mean = total / count
    layer.moving_mean.assign(mean.astype("float32"))
    layer.moving_variance.assign(np.maximum(squares / count - mean**2, 0).astype("float32"))


def _array(value: Any) -> Any:
    return value.numpy() if hasattr(value, "numpy") else np.asarray(value)
