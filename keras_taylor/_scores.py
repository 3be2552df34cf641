"""Scores: one number per channel, and what they were made with."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from keras_taylor._graph import ChannelGraph
from keras_taylor.errors import BadInput, NonFiniteScores


@dataclass(frozen=True, eq=False)
class Scores:
    """One number per channel; a higher one is kept longer.

    Attributes:
        graph: the graph whose channels are scored.
        values: the scores, shape `(graph.channels,)`.
        criterion: name of the criterion.
        settings: how it was applied: options of the criterion, examples seen, seed.

    Raises:
        BadInput: `values` has another shape.
        NonFiniteScores: a score is NaN or infinite; the layers are named.
    """

    graph: ChannelGraph
    values: NDArray[np.float64]
    criterion: str = "given"
    settings: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        values = np.asarray(self.values, float)
        object.__setattr__(self, "values", values)
        if values.shape != (self.graph.channels,):
            raise BadInput(f"values of Scores must have shape ({self.graph.channels},). Received: {values.shape}.")
        bad = [group.name for group in self.graph.groups if not np.isfinite(values[group.channels]).all()]
        if bad:
            raise NonFiniteScores(
                f"Scores of criterion {self.criterion!r} must be finite. Received: NaN or infinity in {', '.join(bad[:5])}"
                f"{f' and {len(bad) - 5} more layers' if len(bad) > 5 else ''}. "
                "Check the model's weights and the data for NaN, and that the loss is finite on them."
            )

    def by_layer(self) -> dict[str, NDArray[np.float64]]:
        """The scores of every producer's channels, in the order of its filters."""
        return {name: self.values[self.graph.channel[ids]] for ids, name in self.graph.births}

    def __str__(self) -> str:
        table = Table(title=f"{self.criterion} scores of {self.graph.name} {dict(self.settings)}")
        for column in ("layer group", "channels", "lowest", "median", "highest"):
            table.add_column(column, justify="left" if column == "layer group" else "right")
        for group in self.graph.groups:
            values = self.values[group.channels]
            numbers = (f"{x:.3g}" for x in (values.min(), np.median(values), values.max()))
            table.add_row(group.name, str(len(values)), *numbers)
        console = Console(file=io.StringIO(), width=120, color_system=None)
        console.print(table)
        return str(console.file.getvalue())  # type: ignore[attr-defined]
