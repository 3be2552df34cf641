"""Contributions, member by member."""

from __future__ import annotations

from typing import Any

from keras_taylor._record.backward import CONTRIBUTION
from keras_taylor._record.gate import contribution
from keras_taylor._record.statistics._base import Columns, GradientStatistic, register_statistic
from keras_taylor._trace.read_sites import ReadSites
from keras_taylor.criteria._statistics import Array


@register_statistic("absolute_members")
class AbsoluteMembers(GradientStatistic):
    """The contribution, with the absolute value of what each member adds up to."""

    probe = CONTRIBUTION

    def at_position(self, activation: Any, gradient: Any) -> Any:
        """The product, of which positions of a member are summed with their sign."""
        return contribution(activation, gradient)

    def from_batch(self, columns: Columns, sites: ReadSites, y: Any) -> Array:
        """The sum over members of absolute values."""
        return sites.absolute_to_channels(columns[self.probe])
