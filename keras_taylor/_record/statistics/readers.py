"""The kernels that read channels."""

from __future__ import annotations

from keras_taylor._record.statistics._base import WeightStatistic, register_statistic
from keras_taylor._record.statistics._kernels import kernels_along
from keras_taylor._trace.graph import ChannelGraph
from keras_taylor.criteria import Filters


@register_statistic("readers")
class ConsumerKernels(WeightStatistic):
    """The kernels of all consumers, by the channel that they read: a tuple of `kt.criteria.Filters`."""

    def measure(self, graph: ChannelGraph) -> tuple[Filters, ...]:
        """A column per input; a shared layer counts once."""
        first = {id(step.call.operation): step for step in reversed(graph.steps)}
        steps = [step for step in first.values() if step.consumes and "in" in step.axes]
        return tuple(one for step in steps for one in kernels_along(graph, step, "in", step.axes["in"]))
