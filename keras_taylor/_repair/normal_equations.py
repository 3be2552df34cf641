"""Ridge regression towards given weights, from normal equations that are summed up batch by batch."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import linalg

from keras_taylor.errors import warn

Matrix = NDArray[np.float64]


class NormalEquations:
    """Sums over rows `x` (inputs) and `y` (targets) that a least-squares fit needs; memory is independent of their number.

    Args:
        inputs: length of `x`.
        outputs: length of `y`.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        self.rows = 0
        self.x = np.zeros(inputs)
        self.y = np.zeros(outputs)
        self.xx = np.zeros((inputs, inputs))
        self.xy = np.zeros((inputs, outputs))

    @staticmethod
    def memory(inputs: int, outputs: int) -> int:
        """Bytes that the sums, and solving them, take."""
        return 8 * (3 * inputs * inputs + 3 * inputs * outputs)

    def add(self, x: NDArray[Any], y: NDArray[Any]) -> None:
        """Add rows, shapes `(rows, inputs)` and `(rows, outputs)`; summed in float64."""
        x = x.astype(np.float64)
        self.rows += len(x)
        self.x += x.sum(axis=0)
        self.xx += x.T @ x
        self.add_targets(x, y)

    def add_targets(self, x: NDArray[Any], y: NDArray[Any]) -> None:
        """Add other targets of rows that were added before, after `forget_targets`."""
        x, y = x.astype(np.float64), y.astype(np.float64)
        self.y += y.sum(axis=0)
        self.xy += x.T @ y

    def forget_targets(self) -> None:
        """Begin to sum up the targets anew."""
        self.y[:] = 0
        self.xy[:] = 0

    def shift(self, weights: Matrix) -> Matrix:
        """The intercept that makes `x @ weights` right on average, shape `(outputs,)`."""
        return (self.y - self.x @ weights) / self.rows

    def solve(self, weights: Matrix, ridge: float, intercept: bool, name: str) -> Matrix:
        """The weights that predict `y` best, drawn towards `weights`.

        Args:
            weights: where the ridge pulls to, shape `(inputs, outputs)`.
            ridge: how strong it pulls, relative to the variance of each input.
            intercept: whether an intercept is fitted too (take it from `shift` afterwards).
            name: what the warning calls the layer.

        Returns:
            The weights, shape `(inputs, outputs)`.
        """
        xx: Matrix = self.xx
        xy: Matrix = self.xy
        if intercept:
            xx = xx - np.outer(self.x, self.x) / self.rows
            xy = xy - np.outer(self.x, self.y) / self.rows
        constant = np.diag(xx) <= 1e-10 * np.diag(self.xx)  # what is left of them is rounding
        xx, xy = np.where(constant | constant[:, None], 0.0, xx), np.where(constant[:, None], 0.0, xy)
        size = np.sqrt(np.where(constant, 1.0, np.diag(xx)))
        system = xx / np.outer(size, size) + ridge * np.eye(len(xx))  # of inputs that all vary by 1
        wanted = (xy - xx @ weights) / size[:, None]
        try:
            return weights + linalg.cho_solve(linalg.cho_factor(system, lower=True), wanted) / size[:, None]
        except linalg.LinAlgError:
            warn(
                f"The least-squares fit of {name} is singular ({self.rows} rows for {len(xx)} unknowns, ridge {ridge:g}): the "
                "smallest change of the kernel is taken. Raise ridge, or repair with more examples."
            )
            return weights + linalg.lstsq(system, wanted, lapack_driver="gelsy")[0] / size[:, None]
