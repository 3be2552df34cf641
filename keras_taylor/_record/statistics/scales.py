"""The factors of normalisations."""

from __future__ import annotations

from keras_taylor._record.statistics._base import WeightStatistic, register_statistic
from keras_taylor._trace.graph import ChannelGraph
from keras_taylor.criteria import Filters


@register_statistic("scales")
class NormalisationScales(WeightStatistic):
    """The factors that normalisations multiply channels with (BatchNorm's gamma): a tuple of `kt.criteria.Filters`."""

    def measure(self, graph: ChannelGraph) -> tuple[Filters, ...]:
        """A row per normalisation."""
        found = []
        for step in {id(step.call.operation): step for step in graph.steps}.values():
            weight = getattr(step.call.operation, step.rule.scale, None) if step.rule.scale else None
            if weight is not None and "out" in step.axes:
                found.append(Filters(weight.numpy().reshape(1, -1).astype(float), graph.channel[step.axes["out"]]))
        return tuple(found)
