"""What each class of decisions is worth: Shapley values of a gap between two criteria."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from math import factorial
from typing import Any

import numpy as np

from keras_taylor.studies._quadrants import PLAYERS

COALITIONS = [frozenset(chosen) for size in range(len(PLAYERS) + 1) for chosen in combinations(PLAYERS, size)]
MEASURES = ("accuracy", "loss saved")


def shapley(worth: Mapping[frozenset[str], float], players: Sequence[str] = PLAYERS) -> dict[str, float]:
    """Each player's mean contribution over all orders in which players join; `worth` is of every coalition."""
    found = dict.fromkeys(players, 0.0)
    for player in players:
        for coalition in worth:
            if player not in coalition:
                before, after = len(coalition), len(players) - len(coalition) - 1
                weight = factorial(before) * factorial(after) / factorial(len(players))
                found[player] += weight * (worth[coalition | {player}] - worth[coalition])
    return found


def label(coalition: frozenset[str]) -> str:
    """Names a coalition in tables and files."""
    return " + ".join(player for player in PLAYERS if player in coalition) or "none"


def attributed(coalitions: Mapping[str, Any]) -> dict[str, Any]:
    """The gap, and the Shapley value of each player, for each seed."""
    worth = {
        "accuracy": {one: np.array(coalitions[label(one)]["accuracy"]) for one in COALITIONS},
        "loss saved": {one: -np.array(coalitions[label(one)]["loss"]) for one in COALITIONS},
    }
    made: dict[str, Any] = {"gap": {}, "Shapley values": {player: {} for player in PLAYERS}}
    for measure, of in worth.items():
        made["gap"][measure] = (of[frozenset(PLAYERS)] - of[frozenset()]).tolist()
        single = [shapley({one: float(found[seed]) for one, found in of.items()}) for seed in range(len(of[frozenset()]))]
        for player in PLAYERS:
            made["Shapley values"][player][measure] = [one[player] for one in single]
    return made


def mean_of_shares(gaps: Mapping[str, Any]) -> dict[str, Any]:
    """The gap and the Shapley values as means over the shares, for each seed."""

    def mean(lists: Sequence[Sequence[float]]) -> list[float]:
        return [float(one) for one in np.mean(lists, axis=0)]

    return {
        "gap": {measure: mean([one["gap"][measure] for one in gaps.values()]) for measure in MEASURES},
        "Shapley values": {
            player: {measure: mean([one["Shapley values"][player][measure] for one in gaps.values()]) for measure in MEASURES}
            for player in PLAYERS
        },
    }
