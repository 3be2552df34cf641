"""Scores: one number per channel, and what they were made with."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from keras_taylor._output.files import write_text
from keras_taylor._output.tables import render, table
from keras_taylor._trace.broken_weights import broken_weights
from keras_taylor._trace.graph import ChannelGraph, trace
from keras_taylor.errors import BadInput, NonFiniteScores, PlanMismatch

_FORMAT = 1


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
            bad = broken_weights(self.graph) or bad
            raise NonFiniteScores(
                f"Scores of criterion {self.criterion!r} must be finite. Received: NaN or infinity in {', '.join(bad[:5])}"
                f"{f' and {len(bad) - 5} more layers' if len(bad) > 5 else ''}. "
                "Check the model's weights and the data for NaN, and that the loss is finite on them."
            )

    def by_layer(self) -> dict[str, NDArray[np.float64]]:
        """The scores of every producer's channels, in the order of its filters."""
        return {name: self.values[self.graph.channel[ids]] for ids, name in self.graph.births}

    def save(self, path: str | Path) -> None:
        """Write JSON to `path`, at once or not at all."""
        fields = {"format": _FORMAT, "model": self.graph.name, "fingerprint": self.graph.fingerprint}
        fields |= {"criterion": self.criterion, "settings": dict(self.settings), "values": self.values.tolist()}
        write_text(path, json.dumps(fields))

    @classmethod
    def load(cls, path: str | Path, model: Any) -> Scores:
        """Read what `save` wrote.

        Args:
            path: of the file.
            model: the model that was scored, or one with the same layers and shapes.

        Raises:
            BadInput: the file does not hold scores.
            PlanMismatch: they are of another model.
        """
        graph = trace(model)
        try:
            data = json.loads(Path(path).read_text(encoding="utf-8"))
            version, made = data["format"], data["fingerprint"]
            scores = cls(graph, data["values"], data["criterion"], data["settings"]) if made == graph.fingerprint else None
        except (ValueError, KeyError, TypeError) as error:
            raise BadInput(f"Scores must be JSON as Scores.save writes it. Received: {error!r}.") from None
        if version != _FORMAT:
            raise BadInput(f"The format of scores must be {_FORMAT}. Received: {version!r}. Update keras_taylor.")
        if scores is None:
            raise PlanMismatch(
                f"Scores must be of this model. Received: scores of {data['model']!r} ({made}) and the model {graph.name!r} "
                f"({graph.fingerprint}), whose layers or shapes differ."
            )
        return scores

    def __str__(self) -> str:
        title = f"{self.criterion} scores of {self.graph.name} ({', '.join(f'{k}={v}' for k, v in self.settings.items())})"
        made = table(title, ("layer group", "channels>", "lowest>", "median>", "highest>"))
        for group in self.graph.groups:
            if group.locked == len(group.channels):
                made.add_row(group.name, str(len(group.channels)), "locked", "", "")
                continue
            values = self.values[group.channels]
            numbers = (f"{x:.3g}" for x in (values.min(), np.median(values), values.max()))
            made.add_row(group.name, str(len(values)), *numbers)
        return render(made)
