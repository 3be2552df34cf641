"""Rows of a sweep, their means over seeds, and which of them no other one beats."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from typing import TypeVar

from keras_taylor.errors import unknown_name


@dataclass(frozen=True)
class SweepRow:
    """One file of a sweep, and what was measured of it.

    Attributes:
        target: share of the unpruned model's MACs that the plan had to stay under; 1.0 is unpruned.
        seed: of fine-tuning, scoring, calibration and quantization-aware training.
        order: `"prune_quantize"` or `"quantize_while_pruning"`.
        quantizer: its name.
        weight_bits: of the quantizer.
        activation_bits: of the quantizer.
        accuracy: of the `.tflite` file on the validation data, run by LiteRT.
        float_accuracy: of the Keras model that the file was made from, which computes in float32.
        examples: in the validation data.
        macs: multiply-accumulates per example (1 MAC is 1).
        params: parameters, trainable or not.
        bops: MACs times the bits of weights and of activations.
        relative_bops: share of what the unpruned model has in float32.
        bytes: of the file.
        gzip_bytes: of the file after gzip.
        latency_ms: median time of one example.
        latency_q1_ms: a quarter of the times are below.
        latency_q3_ms: a quarter of the times are above.
        training_seconds: that the float model took, which the rows of this target and seed share; 0 for other orders.
        seconds: that quantizing and measuring took.
        path: of the file, from the folder of the sweep.
        device: the processor that ran the file, with its instructions for products of matrices: accuracies in 8 bits and
            latencies differ between machines. Empty in rows of versions that did not note it.
    """

    target: float
    seed: int
    order: str
    quantizer: str
    weight_bits: int
    activation_bits: int
    accuracy: float
    float_accuracy: float
    examples: int
    macs: int
    params: int
    bops: int
    relative_bops: float
    bytes: int
    gzip_bytes: int
    latency_ms: float
    latency_q1_ms: float
    latency_q3_ms: float
    training_seconds: float
    seconds: float
    path: str
    device: str = ""

    def number(self, name: str) -> float:
        """A numeric attribute by name.

        Raises:
            UnknownName: there is none of that name.
        """
        if name not in NUMBERS:
            raise unknown_name("A column of numbers", name, NUMBERS)
        return float(getattr(self, name))


NUMBERS = tuple(field.name for field in fields(SweepRow) if field.type in ("int", "float"))
_HIGHER_IS_BETTER = ("accuracy", "float_accuracy")


@dataclass(frozen=True)
class SweepGroup:
    """The rows that differ in their seeds alone."""

    rows: tuple[SweepRow, ...]

    @property
    def target(self) -> float:
        """Of every row."""
        return self.rows[0].target

    @property
    def order(self) -> str:
        """Of every row."""
        return self.rows[0].order

    @property
    def quantizer(self) -> str:
        """Of every row."""
        return self.rows[0].quantizer

    @property
    def bits(self) -> tuple[int, int]:
        """Bits of weights and of activations."""
        return self.rows[0].weight_bits, self.rows[0].activation_bits

    def number(self, name: str) -> float:
        """The mean over seeds."""
        return statistics.fmean(row.number(name) for row in self.rows)

    def spread(self, name: str) -> float:
        """The standard deviation over seeds; 0 for a single one."""
        return statistics.stdev(row.number(name) for row in self.rows) if len(self.rows) > 1 else 0.0


def grouped(rows: Iterable[SweepRow]) -> list[SweepGroup]:
    """The rows in groups of equal target, order and quantizer."""
    found: dict[tuple[float, str, str], list[SweepRow]] = {}
    for row in rows:
        found.setdefault((row.target, row.order, row.quantizer), []).append(row)
    return [SweepGroup(tuple(group)) for group in found.values()]


Item = TypeVar("Item", SweepRow, SweepGroup)


def front(items: Sequence[Item], x: str, y: str) -> list[Item]:
    """The items that no other one beats: none is at least as good in both numbers and better in one. Ascending in `x`."""
    points = [tuple(-v if n in _HIGHER_IS_BETTER else v for n, v in ((x, i.number(x)), (y, i.number(y)))) for i in items]
    best = [
        item
        for item, (a, b) in zip(items, points, strict=True)
        if not any(c <= a and d <= b and (c < a or d < b) for c, d in points)
    ]
    return sorted(best, key=lambda item: item.number(x))


def mean_and_spread(group: SweepGroup, name: str, digits: int = 4) -> str:
    """`0.912 ± 0.003`, or the number alone for a single seed."""
    spread = f" ± {group.spread(name):.{digits}f}" if len(group.rows) > 1 else ""
    return f"{group.number(name):.{digits}f}{spread}"
