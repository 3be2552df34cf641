"""The least-squares fit of one layer, towards targets from the original, on inputs from the small model."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from keras_taylor._keras.program import Call
from keras_taylor._repair.consumers import Consumer, Residual
from keras_taylor._repair.normal_equations import NormalEquations
from keras_taylor._repair.window_rows import Rows
from keras_taylor.errors import NonFiniteScores, warn
from keras_taylor.rules import UNCLIPPED

_LEAST_ROWS = 30_000


@dataclass(frozen=True)
class FitOptions:
    """How layers are fitted.

    Attributes:
        ridge: pull towards the old kernel, relative to the variance of each input; infinity moves the bias alone.
        rows: rows per unknown that are sampled, at least; 0 reads every position.
        residual: fit towards the original's sum where a layer's outputs go into one, not towards its branch.
        rounds: how often a layer that a ReLU reads is fitted again, towards what passes the ReLU.
        seed: for the sampled positions.
        verbose: 1 shows a progress bar.
    """

    ridge: float
    rows: int
    residual: bool
    rounds: int
    seed: int
    verbose: int = 0

    def wanted(self, unknowns: int) -> int:
        """How many rows to sample for a layer with so many unknowns per output."""
        return max(self.rows * unknowns, _LEAST_ROWS) if self.rows else 2**62


class LayerFit:
    """The fit of one layer while its rows come in.

    First `note` takes the targets from a pass of the original. Then `add` takes the inputs from the small model, batch by
    batch, and `write` solves and writes the weights. In between, `clip` begins another round with better targets.

    Args:
        consumer: the layer.
        images: number of examples that will come in.
        options: how layers are fitted.

    Attributes:
        consumer: the layer.
        residual: the sum to fit towards, or None.
    """

    def __init__(self, consumer: Consumer, images: int, options: FitOptions) -> None:
        self.consumer = consumer
        self.residual: Residual | None = None
        self._options = options
        self._original, self._small = Rows(consumer.linear), Rows(consumer.linear_small)
        groups = consumer.linear.groups
        whole = consumer.linear.to_matrix(_array(getattr(consumer.original, consumer.linear.kernel)))
        kept = [np.flatnonzero(consumer.kept_out // whole.shape[2] == g) for g in range(groups)]
        self._target = [whole[g][:, consumer.kept_out[kept[g]] % whole.shape[2]] for g in range(groups)]
        old = consumer.linear_small.to_matrix(_array(getattr(consumer.small, consumer.linear_small.kernel)))
        self._old = old.astype(np.float64)
        self._sums: list[NormalEquations] = []
        self._most = -(-options.wanted(old.shape[1]) // (images * len(consumer.calls)))
        self._rng = np.random.default_rng(options.seed)
        self._targets: dict[int, list[tuple[NDArray[np.int64], NDArray[np.float32]]]] = {
            id(call): [] for call, _ in consumer.calls
        }
        self._others: list[Any] = []
        self._affine = _affine(consumer)
        self._first: Any = None
        self._varies = False

    def note(self, call: Call, inputs: Any) -> None:
        """Targets of one batch: what the original makes of its inputs, at sampled positions, without its bias."""
        x = _array(inputs)
        positions = self._original.positions(x.shape[1:-1], self._most, self._rng)
        rows = self._original.read(x, positions)
        found = [one.astype(np.float32) @ target for one, target in zip(rows, self._target, strict=True)]
        self._targets[id(call)].append((positions, np.concatenate(found, axis=1)))

    def note_others(self, others: Sequence[Any]) -> None:
        """The original's other operands of the sum, at the positions of the last batch."""
        positions, targets = next(iter(self._targets.values()))[-1]
        targets += _at(others, positions)[:, self.consumer.kept_out] * self._inverse_scale()

    def add(self, batch: int, others: Sequence[Any], inputs: Sequence[Any]) -> None:
        """The same batch in the small model: other operands of the sum, which do part of the work, and inputs of the calls."""
        if others:
            positions, targets = next(iter(self._targets.values()))[batch]
            self._others.append(_at(others, positions))
            targets -= self._others[-1] * self._inverse_scale()
        for (call, _), x in zip(self.consumer.calls, inputs, strict=False):
            positions, targets = self._targets[id(call)][batch]
            values = _array(x)
            self._sums = self._sums or [NormalEquations(*self._old.shape[1:]) for _ in self._old]
            flat = values.reshape(-1, values.shape[-1])
            self._first = flat[0] if self._first is None else self._first
            self._varies |= bool((flat != self._first).any())
            rows = self._small.read(values, positions)
            for sums, one, y in zip(self._sums, rows, np.split(targets, len(rows), axis=1), strict=True):
                sums.add(one, y)

    def more_rounds(self) -> int:
        """How many more rounds there are: none, unless what reads this layer clips its outputs."""
        clips = self.consumer.clip_range not in (None, UNCLIPPED)
        known = self.residual is not None or self.consumer.residual is None
        return self._options.rounds if clips and known and math.isfinite(self._options.ridge) else 0

    def clip(self) -> Callable[[int, Sequence[Any]], None]:
        """Begin a round: a target that is clipped away is met by any value that is clipped alike.

        Returns:
            A function that takes a batch's number and inputs.

        References:
            Zhang et al. 2015, "Accelerating very deep convolutional networks for classification and detection", section 3.2.
        """
        weights = self.solve()
        shifts = [sums.shift(one) if self._intercept else 0.0 for sums, one in zip(self._sums, weights, strict=True)]
        for sums in self._sums:
            sums.forget_targets()
        low, high = self.consumer.clip_range  # type: ignore[misc]
        scale, offset = self._affine
        usable = np.abs(scale) >= 1e-3

        def add(batch: int, inputs: Sequence[Any]) -> None:
            for (call, _), x in zip(self.consumer.calls, inputs, strict=True):
                positions, targets = self._targets[id(call)][batch]
                rows = self._small.read(_array(x), positions)
                made = [one @ w + b for one, w, b in zip(rows, weights, shifts, strict=True)]
                others = self._others[batch] if self._others else 0.0
                wanted, found = (scale * y + offset + others for y in (targets, np.concatenate(made, axis=1)))
                met = np.where(wanted <= low, np.minimum(found, low), np.where(wanted >= high, np.maximum(found, high), wanted))
                better = targets + np.where(usable, (met - wanted) / np.where(usable, scale, 1.0), 0.0)
                for sums, one, y in zip(self._sums, rows, np.split(better, len(rows), axis=1), strict=True):
                    sums.add_targets(one, y)

        return add

    def solve(self) -> NDArray[np.float64]:
        """The kernel that fits best, shape `(groups, inputs, outputs)`.

        Raises:
            NonFiniteScores: NaN or infinity in the inputs of this layer.
        """
        name = self.consumer.name
        if not all(np.isfinite(sums.xy).all() and np.isfinite(sums.xx).all() for sums in self._sums):
            raise NonFiniteScores(
                f"Activations that repair reads must be finite. Received: NaN or infinity in the inputs of {name!r}."
            )
        if not np.isfinite(self._options.ridge):
            return self._old
        if not self._varies:
            return self._old
        found = zip(self._sums, self._old, strict=True)
        return np.stack([sums.solve(old, self._ridge(), self._intercept, name) for sums, old in found])

    def write(self) -> None:
        """Solve, write the weights, and forget the rows."""
        consumer, new = self.consumer, self.solve()
        rows, unknowns = self._sums[0].rows, self._old.shape[1]
        if not self._varies:
            warn(
                f"The inputs of {consumer.name!r} do not vary over the examples: its kernel is kept. "
                "Repair with inputs as in training."
            )
        elif np.isfinite(self._options.ridge) and rows < unknowns:
            warn(
                f"The least-squares fit of {consumer.name!r} has {rows:,} rows for {unknowns:,} unknowns: its ridge is raised "
                f"from {self._options.ridge:g} to {self._ridge():.3g}. "
                f"Repair with at least {unknowns / rows:.1f} times as many examples."
            )
        if np.isfinite(self._options.ridge):
            kernel = getattr(consumer.small, consumer.linear_small.kernel)
            kernel.assign(consumer.linear_small.from_matrix(kernel.numpy(), new).astype("float32"))
        if self._intercept:
            shift: Any = np.concatenate([sums.shift(one) for sums, one in zip(self._sums, new, strict=True)])
            if _has_bias(consumer.small):
                consumer.small.bias.assign((_bias(consumer) + shift).astype("float32"))
                shift = 0.0
            if consumer.norm is not None:
                # Without a bias, a shift of the output is a shift of the mean that the normalisation takes off. The targets are
                # in the units of the original's normalisation, which may have been measured again.
                before, norm = consumer.norm
                norm.mean.assign((_array(before.mean)[consumer.kept_out] - shift).astype("float32"))
                norm.variance.assign(_array(before.variance)[consumer.kept_out])
        self._sums = []
        self._others.clear()

    def close(self) -> None:
        """Free the targets."""
        self._targets.clear()

    @property
    def _intercept(self) -> bool:
        return _has_bias(self.consumer.small) or self.consumer.norm is not None

    def _ridge(self) -> float:
        """The ridge to solve with: with fewer rows than unknowns, the more are missing, the more it pulls to the old kernel."""
        missing = self._old.shape[1] / self._sums[0].rows
        return self._options.ridge if missing <= 1 else max(self._options.ridge, 0.1 * missing)

    def _inverse_scale(self) -> Any:
        """What leads from units of the sum to units of the outputs; 0 where the normalisation all but erases a channel."""
        scale = self._affine[0]
        return np.where(np.abs(scale) < 1e-3, 0.0, 1.0 / np.where(np.abs(scale) < 1e-3, 1.0, scale)).astype(np.float32)


def _affine(consumer: Consumer) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Scale and offset that lead from `rows @ kernel` of the original to what the sum or the activation reads."""
    scale, offset = np.ones(len(consumer.kept_out)), np.zeros(len(consumer.kept_out))
    if _has_bias(consumer.small):
        offset = offset + _bias(consumer)
    if consumer.norm is not None:
        norm, kept = consumer.norm[0], consumer.kept_out
        gamma = _array(norm.gamma)[kept] if norm.gamma is not None else 1.0
        beta = _array(norm.beta)[kept] if norm.beta is not None else 0.0
        scale = scale * gamma / np.sqrt(_array(norm.variance)[kept] + norm.epsilon)
        offset = beta + scale * (offset - _array(norm.mean)[kept])
    return scale, offset


def _has_bias(layer: Any) -> bool:
    return getattr(layer, "bias", None) is not None


def _bias(consumer: Consumer) -> Any:
    return _array(consumer.original.bias)[consumer.kept_out]


def _at(values: Sequence[Any], positions: NDArray[np.int64]) -> Any:
    """The sum of maps at some positions, as rows."""
    total = sum(_array(one).reshape(len(one), -1, one.shape[-1])[:, positions] for one in values)
    return total.reshape(-1, total.shape[-1])


def _array(value: Any) -> Any:
    return value.numpy() if hasattr(value, "numpy") else np.asarray(value)
