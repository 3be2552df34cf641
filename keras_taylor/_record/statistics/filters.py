"""The kernels that make channels."""

from __future__ import annotations

from keras_taylor._record.statistics._base import WeightStatistic, register_statistic
from keras_taylor._record.statistics._kernels import kernels_along
from keras_taylor._trace.graph import ChannelGraph
from keras_taylor.criteria import Filters


@register_statistic("filters")
class ProducerKernels(WeightStatistic):
    """The kernels of all producers, by filter: a tuple of `kt.criteria.Filters`."""

    def measure(self, graph: ChannelGraph) -> tuple[Filters, ...]:
        """A column per filter."""
        born = {name: ids for ids, name in graph.births}
        steps = [step for step in graph.steps if step.call.name in born]
        return tuple(one for step in steps for one in kernels_along(graph, step, "out", born[step.call.name]))
