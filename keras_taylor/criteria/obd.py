"""Optimal Brain Damage for channels: half the second derivative of the loss with respect to a gate."""

from __future__ import annotations

from dataclasses import dataclass

from keras_taylor.criteria._base import MeanOverExamples, register_criterion
from keras_taylor.criteria._statistics import Array, Record


@register_criterion("obd")
@dataclass(frozen=True)
class OBD(MeanOverExamples):
    """Mean over the examples of `h / 2`, with `h = d2Loss/d(gate)2`: the change of the loss where the gradient is zero.

    Args:
        curvature: what stands for h. `"gauss_newton"` is exact: one backward pass per class; for nets that are piecewise linear
            (ReLU, max-pooling, BatchNorm in inference) it is the second derivative, for others `kt.score` warns. `"fisher"` is
            an unbiased estimate of the same from labels that are drawn from the model's softmax or sigmoid outputs: one
            backward pass per draw. `"hutchinson"` is an unbiased estimate of the second derivative of any net, noisier and
            dearer. `"empirical_fisher"` is `(dLoss/d(gate))^2` with the given labels. That is *not* a second derivative but
            Taylor, squared before the mean: no independent comparison with it.
        normalize: `"l2"` or `"mean"` per layer, or None.
        flops: as in `Taylor`.

    References:
        LeCun et al. 1990, "Optimal Brain Damage", Eq. 5, with gates for weights; Schraudolph 2002, "Fast Curvature
        Matrix-Vector Products for Second-Order Gradient Descent", for Gauss-Newton; Hutchinson 1990, "A Stochastic Estimator
        of the Trace"; Kunstner et al. 2019, "Limitations of the empirical Fisher approximation".

    Example:
        >>> import keras_taylor as kt
        >>> sorted(kt.criteria.OBD("gauss_newton").needs)
        ['gauss_newton']
    """

    curvature: str = "fisher"
    normalize: str | None = None
    flops: float = 0.0

    needs = frozenset({"fisher"})

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_option("curvature", ("gauss_newton", "fisher", "hutchinson", "empirical_fisher"))
        self._fix(needs=frozenset({"contribution" if self.curvature == "empirical_fisher" else self.curvature}))

    def each(self, record: Record) -> Array:
        """Half the curvature."""
        if self.curvature == "empirical_fisher":
            return record.contribution**2 / 2
        half: Array = getattr(record, self.curvature) / 2
        return half


@register_criterion("obd_exact")
class ExactOBD(OBD):
    """`OBD` with the exact Gauss-Newton diagonal."""

    needs = frozenset({"gauss_newton"})

    def __init__(self, normalize: str | None = None, flops: float = 0.0) -> None:
        super().__init__("gauss_newton", normalize, flops)


@register_criterion("obd_hutchinson")
class HutchinsonOBD(OBD):
    """`OBD` with Hutchinson's estimate of the second derivative."""

    needs = frozenset({"hutchinson"})

    def __init__(self, normalize: str | None = None, flops: float = 0.0) -> None:
        super().__init__("hutchinson", normalize, flops)


@register_criterion("empirical_fisher")
class EmpiricalFisher(OBD):
    """`OBD` with the empirical Fisher: Taylor, squared; named as what it is."""

    needs = frozenset({"contribution"})

    def __init__(self, normalize: str | None = None, flops: float = 0.0) -> None:
        super().__init__("empirical_fisher", normalize, flops)
