"""The greedy knapsack behind `kt.plan`.

Each layer group offers its least important channels as one block (one channel, or as many as rounding asks for). The block
with the lowest score per unit of budget saved goes, the savings of all others are updated by one matrix product, and so on
until the budgets are met; then blocks come back, the last one first, as long as they fit.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from keras_taylor._plan.constraints import Constraints
from keras_taylor._trace.cost import Cost
from keras_taylor._trace.graph import ChannelGraph, LayerGroup

Mask = NDArray[np.bool_]


class _Queue:
    """The removable channels of one layer group, in the order in which they go."""

    def __init__(self, channels: NDArray[np.int64], axis: int, axes: Sequence[int], per_channel: int) -> None:
        self.channels = channels
        self.axis = axis
        self.axes = axes
        self.per_channel = per_channel
        self.taken = 0

    def block(self, now: float, round_to: int) -> NDArray[np.int64]:
        """The next channels to go: one, or as many as bring the producer's width to a multiple."""
        size = 1
        if round_to > 1:
            step = math.lcm(round_to, self.per_channel)
            excess = (int(now) - 1) % step + 1
            size = max(excess // self.per_channel, 1) if now > step else len(self.channels) + 1
        return self.channels[self.taken : self.taken + size] if self.taken + size <= len(self.channels) else self.channels[:0]

    def set_aside(self) -> bool:
        """Never offer the next channel again; whether another one is left."""
        self.channels = np.delete(self.channels, self.taken)
        return self.taken < len(self.channels)


class Ranking:
    """One run of the greedy removal; `keep` is the result, a boolean per channel."""

    def __init__(
        self,
        graph: ChannelGraph,
        scores: NDArray[np.float64],
        *,
        cost: Cost,
        budgets: Mapping[str, float],
        by_saving: bool,
        constraints: Constraints,
    ) -> None:
        self.graph = graph
        self.cost = cost
        self.scores = scores
        self.budgets = dict(budgets)
        self.by_saving = by_saving
        self.round_to = constraints.round_to or 1
        self.keep: Mask = np.ones(graph.channels, bool)
        self.counts = self.cost.full.copy()
        self.floor = np.minimum(self.cost.full, 1.0)
        self.ceiling = np.full(len(self.floor), np.inf)
        axis_of = {name: axis for (_, name), axis in zip(graph.births, self.cost.producers, strict=True)}
        keep, fixed = set(constraints.kept_layers(list(axis_of))), graph.locks != ""
        for ids, name in graph.births:
            least, most = constraints.bounds_of(name, len(ids))
            self.floor[axis_of[name]] = max(self.floor[axis_of[name]], least)
            if name in constraints.bounds:
                self.ceiling[axis_of[name]] = most
            if name in keep:
                fixed[graph.channel[ids]] = True
        self.totals = {name: self.cost.total(name, self.cost.full) for name in self.budgets}
        self.queues = [queue for group in graph.groups if (queue := self._queue(group, fixed, axis_of)) is not None]
        self.history: list[tuple[_Queue, NDArray[np.int64]]] = []

    def _queue(self, group: LayerGroup, fixed: Mask, axis_of: Mapping[str, int]) -> _Queue | None:
        channels = group.channels[~fixed[group.channels]]
        if not len(channels):
            return None
        axes = [axis_of[name] for name in group.producers]
        axis = max(axes, key=lambda a: self.cost.full[a])
        order = self.scores[channels]
        if self.by_saving:
            rows, alike = _distinct(self.cost.incidence[channels].toarray())
            saved = self.savings(rows, self.together(rows))[alike]
            order = _per(order, saved) if (saved > 0).all() else order
        channels = channels[np.argsort(order, kind="stable")]
        per_channel = int(self.cost.incidence[[channels[0]], :][:, [axis]].sum())
        return _Queue(channels, axis, axes, max(per_channel, 1))

    def unmet(self) -> list[str]:
        """The budgets that are still exceeded."""
        return [b for b, limit in self.budgets.items() if self.cost.total(b, self.counts) > limit]

    def savings(self, positions: NDArray[np.float64], together: Mapping[str, NDArray[np.float64]]) -> NDArray[np.float64]:
        """What blocks with these positions, shape `(blocks, axes)`, save towards the unmet budgets, relative to the totals.

        Saving more than what is still to save counts for nothing, so the last steps are small ones.
        """
        saved = np.zeros(len(positions))
        for budget in self.unmet():
            exact = positions @ self.cost.slope(budget, self.counts) - together[budget]
            missing = self.cost.total(budget, self.counts) - self.budgets[budget]
            saved += np.minimum(exact, missing) / self.totals[budget]
        return saved

    def together(self, positions: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        """What the slope of each budget counts twice for each block."""
        return {budget: np.array([self.cost.together(budget, row) for row in positions]) for budget in self.budgets}

    def over(self) -> list[tuple[str, int, int]]:
        """Producers above their upper bound: name, bound, and what they have."""
        return [
            (name, int(self.ceiling[axis]), int(self.counts[axis]))
            for (_, name), axis in zip(self.graph.births, self.cost.producers, strict=True)
            if self.counts[axis] > self.ceiling[axis]
        ]

    def run(self) -> bool:
        """Remove until the budgets are met and the upper bounds respected; False when nothing is left that may go."""
        offers = _Offers(self)
        while (exceeded := self.counts > self.ceiling).any() or self.unmet():
            best = offers.best(exceeded if exceeded.any() else None)
            if best is None:
                return False
            self._remove(*best)
            for queue in self.queues:
                if queue.axis == best[0].axis:
                    offers.refresh(queue)
        self._restore()
        return True

    def allowed(self, positions: NDArray[np.float64]) -> bool:
        """Whether every axis keeps its least number of positions without these."""
        touched = positions > 0
        return bool((self.counts[touched] - positions[touched] >= self.floor[touched]).all())

    def _remove(self, queue: _Queue, block: NDArray[np.int64], positions: NDArray[np.float64]) -> None:
        self.keep[block] = False
        self.counts -= positions
        queue.taken += len(block)
        self.history.append((queue, block))

    def _restore(self) -> None:
        """Give back, the last one first, what still fits: then the last block of no queue could return."""
        stuck: set[int] = set()
        for queue, block in reversed(self.history):
            if id(queue) in stuck:
                continue
            positions = self.cost.positions(block)
            self.counts += positions
            over = (self.counts > self.ceiling) & (positions > 0)
            now, full = int(self.counts[queue.axis]), self.cost.full[queue.axis]
            uneven = now % self.round_to != 0 and now != full
            if not over.any() and not uneven and not self.unmet():
                self.keep[block] = True
                queue.taken -= len(block)
            else:
                self.counts -= positions
                stuck.add(id(queue))


class _Offers:
    """The next block of every queue with its score and its savings, kept up to date."""

    def __init__(self, ranking: Ranking) -> None:
        self.ranking = ranking
        self.blocks: list[NDArray[np.int64]] = [np.empty(0, np.int64)] * len(ranking.queues)
        self.index = {id(queue): i for i, queue in enumerate(ranking.queues)}
        self.score = np.full(len(ranking.queues), np.inf)
        self.positions = np.zeros((len(ranking.queues), len(ranking.counts)))
        self.together = {budget: np.zeros(len(ranking.queues)) for budget in ranking.budgets}
        for queue in ranking.queues:
            self.refresh(queue)

    def refresh(self, queue: _Queue) -> None:
        """Look up the next block that leaves every axis its least number."""
        ranking, i = self.ranking, self.index[id(queue)]
        self.score[i] = np.inf
        while True:
            block = queue.block(ranking.counts[queue.axis], ranking.round_to)
            if not len(block):
                return
            positions = ranking.cost.positions(block)
            if ranking.allowed(positions):
                break
            if len(block) > 1 or not queue.set_aside():
                return
        if not np.array_equal(positions, self.positions[i]):
            self.positions[i] = positions
            for budget, found in self.together.items():
                found[i] = ranking.cost.together(budget, positions)
        self.blocks[i] = block
        self.score[i] = ranking.scores[block].sum()

    def best(self, axes: Mask | None = None) -> tuple[_Queue, NDArray[np.int64], NDArray[np.float64]] | None:
        """The block with the lowest score per saving that is still allowed; of those that touch `axes`, if given."""
        ranking = self.ranking
        while np.isfinite(self.score).any():
            saved = ranking.savings(self.positions, self.together)
            key = _per(self.score, saved) if ranking.by_saving else np.where(saved > 0, self.score, np.inf)
            if axes is not None:  # an upper bound comes first, by plain score
                key = np.where((self.positions[:, axes] > 0).any(axis=1), self.score, np.inf)
            i = int(np.argmin(key))
            if not np.isfinite(key[i]):
                return None
            if ranking.allowed(self.positions[i]):
                return ranking.queues[i], self.blocks[i], self.positions[i]
            self.refresh(ranking.queues[i])
        return None


def _distinct(rows: NDArray[np.float64]) -> tuple[NDArray[np.float64], list[int]]:
    """The different rows, and which of them each row is, in a tenth of the time of `np.unique(axis=0)`."""
    numbers: dict[bytes, int] = {}
    alike = [numbers.setdefault(row.tobytes(), len(numbers)) for row in rows]
    firsts = np.unique(alike, return_index=True)[1]
    return rows[firsts], alike


def _per(score: NDArray[np.float64], saved: NDArray[np.float64]) -> NDArray[np.float64]:
    """Score per saving. A negative score is multiplied instead, so that a larger saving always goes first."""
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(score < 0, score * saved, score / saved)
    return np.where(saved > 0, ratio, np.inf)
