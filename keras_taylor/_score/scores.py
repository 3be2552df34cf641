"""Scores: one number per channel, and what they were made with."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.table import Table
from typing_extensions import Self

from keras_taylor._output.results import StoredResult, not_ours, read_file, read_version
from keras_taylor._output.tables import table
from keras_taylor._trace.graph import ChannelGraph, as_graph
from keras_taylor._trace.nonfinite_weights import CHECK_FOR_NAN, layers_with_nan
from keras_taylor.errors import BadInput, NonFiniteScores, PlanMismatch, listed


@dataclass(frozen=True, eq=False)
class Scores(StoredResult):
    """One number per channel; a higher one is kept longer.

    Scores are equal where the numbers, the criterion and its settings are, for models of the same layers and shapes.

    Attributes:
        graph: the graph whose channels are scored.
        values: the scores, shape `(graph.channels,)`.
        criterion: name of the criterion.
        settings: how it was applied: options of the criterion, examples seen, labels (`"given"`, `"sampled"` from the
            model's own predictions, or None for a criterion that looks at none), seed.

    Raises:
        BadInput: `values` has another shape.
        NonFiniteScores: a score is NaN or infinite; the layers are named.
    """

    graph: ChannelGraph
    values: NDArray[np.float64]
    criterion: str = "given"
    settings: Mapping[str, Any] = field(default_factory=dict)

    kind = "Scores"

    def __post_init__(self) -> None:
        try:
            values = np.asarray(self.values, float)
        except (ValueError, TypeError):
            raise BadInput(f"values of Scores must be numbers. Received: {self.values!r:.80}.") from None
        object.__setattr__(self, "values", values)
        if values.shape != (self.graph.channels,):
            raise BadInput(f"values of Scores must have shape ({self.graph.channels},). Received: {values.shape}.")
        bad = [group.name for group in self.graph.groups if not np.isfinite(values[group.channels]).all()]
        if bad:
            layers = layers_with_nan(self.graph) or bad
            raise NonFiniteScores(
                f"Scores of criterion {self.criterion!r} must be finite. Received: NaN or infinity in "
                f"{listed(layers, what='more layers')}. {CHECK_FOR_NAN}"
            )

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Scores):
            return NotImplemented
        return self._made == other._made and np.array_equal(self.values, other.values)

    def __hash__(self) -> int:
        return hash((self._made, (self.values + 0.0).tobytes()))  # -0.0 is 0.0

    @property
    def _made(self) -> tuple[str, ...]:
        """Of what, and how, as they are stored."""
        return self.graph.fingerprint, self.criterion, json.dumps(dict(self.settings), sort_keys=True, default=str)

    def by_layer(self) -> dict[str, NDArray[np.float64]]:
        """The scores of every producer's channels, in the order of its filters."""
        return {name: self.values[self.graph.channel[ids]] for ids, name in self.graph.births}

    def absolute(self) -> Scores:
        """The absolute values. Of `kt.oracle`, whose scores have a sign, this is the paper's oracle-abs."""
        return replace(self, values=np.abs(self.values), criterion=f"{self.criterion}_absolute")

    def parts(self) -> Sequence[Table | str]:
        """A table with the lowest, the median and the highest score of every layer group."""
        title = f"{self.criterion} scores of {self.graph.name} ({', '.join(f'{k}={v}' for k, v in self.settings.items())})"
        made = table(title, ("layer group", "channels>", "lowest>", "median>", "highest>"))
        for group in self.graph.groups:
            if group.locked == len(group.channels):
                made.add_row(group.name, str(len(group.channels)), "locked", "", "")
                continue
            values = self.values[group.channels]
            numbers = (f"{x:.3g}" for x in (values.min(), np.median(values), values.max()))
            made.add_row(group.name, str(len(values)), *numbers)
        return [made]

    def fields(self) -> Mapping[str, Any]:
        """The numbers, and the model that they are of by its name and fingerprint."""
        return {
            "model": self.graph.name,
            "fingerprint": self.graph.fingerprint,
            "criterion": self.criterion,
            "settings": dict(self.settings),
            "values": self.values.tolist(),
        }

    @classmethod
    def from_fields(cls, fields: dict[str, Any]) -> Self:
        """The scores that `fields` describes, with the graph of their model under `"graph"`."""
        graph: ChannelGraph = fields["graph"]
        if fields["fingerprint"] != graph.fingerprint:
            raise PlanMismatch(
                f"Scores must be of this model. Received: scores of {fields['model']!r} ({fields['fingerprint']}) and the "
                f"model {graph.name!r} ({graph.fingerprint}), whose layers or shapes differ."
            )
        return cls(graph, fields["values"], fields["criterion"], fields["settings"])

    @classmethod
    def load(cls, path: str | Path, model: Any) -> Self:  # type: ignore[override]  # scores are of a model's channels
        """Read what `save` wrote.

        Args:
            path: of the file.
            model: the model that was scored, or one with the same layers and shapes; or its graph.

        Raises:
            BadInput: the file does not hold scores.
            PlanMismatch: they are of another model.
        """
        return cls.from_json(read_file(cls, path), model)

    @classmethod
    def from_json(cls, text: str, model: Any) -> Self:  # type: ignore[override]  # as above
        """The scores that `to_json` wrote; `model` as in `load`."""
        graph, fields = as_graph(model), read_version(cls, text)
        try:
            return cls.from_fields({**fields, "graph": graph})
        except (KeyError, TypeError) as error:
            raise not_ours(cls, error) from None
