"""`Backward`: a forward pass that has been recorded, to be gone back through as often as statistics ask for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import tensorflow as tf

from keras_taylor._keras.heads import Logits
from keras_taylor._keras.losses import Objective
from keras_taylor._record.forward import Forward

CONTRIBUTION = "contribution"
"""The probe whose gradient is dLoss/d(gate)."""


@dataclass(frozen=True, eq=False)
class Backward:
    """One batch on its way back.

    Attributes:
        forward: how it was run.
        tape: a persistent tape that has recorded how `outputs` depend on `probes`.
        probes: by what they record, zeros of shape `(batch, positions)` for every site.
        outputs: of the model, in a list.
        x: the batch's inputs.
        y: its labels, or None.
        weight: its sample weights, or None.
        scale: factor that keeps gradients of half precision from underflow, a power of two.
        draws: how often random estimates draw.
    """

    forward: Forward
    tape: Any
    probes: Mapping[str, Sequence[Any]]
    outputs: Sequence[Any]
    x: Any
    y: Any
    weight: Any
    scale: Any
    draws: int

    @cached_property
    def logits(self) -> Logits:
        """The outputs as logits; to be asked for first while the tape records."""
        return Logits(self.outputs, self.forward.objectives.kinds)

    def loss(self, objective: Objective, outputs: Sequence[Any] | None = None) -> Any:
        """An objective of this batch, at its outputs or at others."""
        return self.forward.loss(objective, self.x, self.y, self.outputs if outputs is None else outputs, self.weight)

    def sampled_loss(self) -> Any:
        """The loss with labels that the model draws, summed over the examples; each call draws anew."""
        return self.forward.loss(self.forward.objectives.sampled, self.x, None, self.outputs, None)

    def slopes(self, target: Any, along: Any = None, what: Sequence[str] = (CONTRIBUTION,)) -> dict[str, Any]:
        """Gradients with respect to probes, for all sites side by side, shape `(batch, columns)`.

        Args:
            target: recorded by the tape.
            along: the gradient that `target` is given, of its shape; ones by default.
            what: names of probes.
        """
        upstream = (tf.ones_like(target) if along is None else along) * self.scale
        sources = {name: self.probes[name] for name in what}
        found = self.tape.gradient(target, sources, upstream, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        return {name: tf.concat(parts, 1) / self.scale for name, parts in found.items()}

    def slope(self, target: Any, along: Any = None) -> Any:
        """The gradient with respect to the gates where they are read, shape `(batch, columns)`."""
        return self.slopes(target, along)[CONTRIBUTION]
