"""Where channels are read: one site for every call whose kernel contracts over labels.

Silencing a channel is silencing it at all of its sites, so gates, statistics and the oracle all act there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from scipy.sparse import csr_array

from keras_taylor._trace.graph import ChannelGraph


@dataclass(frozen=True, eq=False)
class ReadSite:
    """A call that reads channels from its first input.

    Attributes:
        name: of the call.
        axis: the axis that the channels run along, counted from the end.
        channels: channel of every position along that axis.
    """

    name: str
    axis: int
    channels: NDArray[np.int64]

    def along(self, x: Any, values: Any) -> Any:
        """`values`, one per position of the axis, in a shape that broadcasts against `x`, what the call reads.

        Args:
            x: the tensor that is read, shape `(rows, ...)`.
            values: shape `(positions,)`, or `(examples, positions)` where examples differ. Where positions were folded into the
                batch axis, an example has several rows.
        """
        shape = [1] * len(x.shape)
        shape[self.axis] = x.shape[self.axis]
        if len(values.shape) > 1:
            rows = tf.shape(x)[0]
            values, shape[0] = tf.repeat(values, rows // tf.shape(values)[0], axis=0), rows
        return tf.reshape(values, shape)

    def silence(self, x: Any, kept: Any) -> Any:
        """`x` with zeros at the positions that are not `kept`, booleans as `along` takes them."""
        # Where, not times: a silenced channel may be infinite.
        return tf.where(self.along(x, kept), x, tf.zeros((), x.dtype))


class ReadSites:
    """All sites of a graph, their positions laid side by side as columns.

    Attributes:
        by_call: the site of a call, by id of the call.
        columns: the channel of every column.
        site_of: the number of the site of every column.
        channels: number of channels of the graph.
    """

    def __init__(self, graph: ChannelGraph) -> None:
        self.by_call: dict[int, ReadSite] = {}
        for step in graph.steps:
            labels = step.inputs[0] if step.consumes else None
            if labels is not None and labels.axis is not None:
                axis = labels.axis - len(step.call.inputs[0].shape)
                self.by_call[id(step.call)] = ReadSite(step.call.name, axis, graph.channel[labels.ids])
        sites = list(self.by_call.values())
        self.channels = graph.channels
        self.columns = np.concatenate([site.channels for site in sites]) if sites else np.empty(0, np.int64)
        self.site_of = np.repeat(np.arange(len(sites)), [len(site.channels) for site in sites])
        # A member is one channel at one site: after Flatten, a channel has several columns there.
        members, member_of = np.unique(self.site_of * graph.channels + self.columns, return_inverse=True)
        self._to_members = _summing(member_of, len(members))
        self._members_to_channels = _summing(members % graph.channels, graph.channels)
        self._to_channels = _summing(self.columns, graph.channels)

    def __len__(self) -> int:
        return len(self.by_call)

    def __iter__(self) -> Any:
        return iter(self.by_call.values())

    def sums(self, columns: Any) -> Any:
        """`to_channels` in TensorFlow, for what must stay in the graph."""
        return tf.transpose(tf.math.unsorted_segment_sum(tf.transpose(columns), self.columns, self.channels))

    def to_channels(self, columns: NDArray[Any]) -> NDArray[np.float64]:
        """Sums over the columns of each channel, in float64 (`sums` is the same of a tensor); shape `(batch, channels)`."""
        return np.asarray(columns @ self._to_channels)

    def absolute_to_channels(self, columns: NDArray[Any]) -> NDArray[np.float64]:
        """Sums over the members of each channel of the absolute value of what each member adds up to."""
        return np.asarray(np.abs(columns @ self._to_members) @ self._members_to_channels)

    def names_where(self, wrong: NDArray[np.bool_]) -> list[str]:
        """The sites with a column for which `wrong` holds."""
        sites = list(self.by_call.values())
        return [sites[number].name for number in np.unique(self.site_of[wrong])]


def _summing(target: NDArray[np.int64], count: int) -> Any:
    """The matrix that adds column `i` to column `target[i]`."""
    return csr_array((np.ones(len(target)), (np.arange(len(target)), target)), shape=(len(target), count))
