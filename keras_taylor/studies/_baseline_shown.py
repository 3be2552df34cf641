"""Study `baseline` in tables, words and a figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from keras_taylor.studies._statistics import clear, mean_interval, shown
from keras_taylor.studies._study_table import StudyTable

TITLE = "The fair baseline"
SIZE = (12, 5.5)

# What arms do; N are the epochs of the given model, M those that follow.
BASE = "unpruned, N"
CONTINUED = "unpruned, N + M"
RESTARTED = "unpruned, N + M, restarted"
FALLING = "unpruned, N + M, rate falls to 0"
PRUNED = "pruned"
SCRATCH_EPOCHS = "scratch-E"
SCRATCH_COMPUTE = "scratch-B"
UNIFORM = "uniform width"

MINOR = 2.5
"""Points of accuracy: what the paper's recurrent gesture network lost, and its abstract calls a small drop."""


def tables(settings: Mapping[str, Any], values: Mapping[str, Any]) -> list[StudyTable]:
    """What each arm took, and what it reached."""
    arms, full = values["arms"], values["unpruned macs"]
    continued = _arm(arms, CONTINUED)
    rows = []
    for arm in arms:
        training = np.mean(arm["training macs"])
        cells = [_count(arm["epochs"]), _count(arm["updates"]), f"{training:.3g}"]
        cells += [f"{training / np.mean(continued['training macs']):.2f}", f"{100 * np.mean(arm['macs']) / full:.1f} %"]
        difference = "" if arm is continued else shown(_more(arm, continued), 1)
        rows.append([arm["name"], *cells, shown(arm["accuracy"], 3), difference])
    caption = (
        f"N = {settings['epochs before']} epochs, which the given model has had, and M = {settings['epochs']}, in batches of "
        f"{settings['batch_size']}. Pruned to {100 * settings['share']:g} % of the MACs during M; scratch-E and scratch-B are "
        "that shape with new weights, trained for N + M epochs, and for as many as take the MACs of the unpruned net's N + M; "
        "uniform width is a net with all layers shrunk alike, with new weights, trained for N + M. Restarted: with a new "
        "optimizer. Training MACs: three times those of a forward pass for each example of each update, which is the usual "
        "estimate, and another forward pass of the unpruned net where that teaches the pruned one; scoring and repair are not "
        "counted. Accuracy on the validation data after the last epoch, and by how many points it is above that of "
        f"`{CONTINUED}`, paired by seed; {_means(settings['seeds'])}"
    )
    header = ["arm", "epochs", "updates", "training MACs", "of N + M", "MACs kept", "accuracy", "points above N + M"]
    return [StudyTable(caption, header, rows)]


def answer(settings: Mapping[str, Any], values: Mapping[str, Any]) -> list[str]:
    """Whether the drop is still minor, what M more epochs are worth, and whether pruning beats training from scratch."""
    arms = values["arms"]
    found = [_drop(arms, arm, values["recipes"][arm["recipe"]], settings["share"]) for arm in arms if arm["role"] == PRUNED]
    found.append(_more_training(arms))
    found += [_against_scratch(arms, arm) for arm in arms if arm["role"] == PRUNED]
    return found


def verdict(drops: Sequence[float]) -> str:
    """Whether a drop, in points for each seed, is minor."""
    mean, half = mean_interval(drops)
    if not half > 0:
        why = "one seed has no interval" if len(drops) < 2 else "the seeds are all alike, which says nothing about others"
        return f"it cannot be told: {why}"
    low, high = mean - half, mean + half
    between = f"the interval, {low:.1f} to {high:.1f} points, "
    if high <= MINOR:
        return f"yes: {between}is {'below 0: it is a gain' if high < 0 else f'at most {MINOR:g}'}"
    if low > MINOR:
        return f"no: {between}is above {MINOR:g}"
    return f"it cannot be told: {between}holds {MINOR:g}, so that more seeds are needed"


def draw(figure: Any, values: Mapping[str, Any]) -> None:
    """Accuracy over the MACs of training, and the difference of each arm from N + M."""
    arms = values["arms"]
    continued = _arm(arms, CONTINUED)
    left, right = figure.subplots(1, 2)
    for number, arm in enumerate(arms):
        style = {"color": f"C{number % 10}", "marker": "osD^vPX*<>p"[number % 11], "capsize": 3, "ls": "", "label": arm["name"]}
        training = np.mean(arm["training macs"]) / np.mean(continued["training macs"])
        mean, half = mean_interval(arm["accuracy"])
        left.errorbar(training, 100 * mean, 100 * np.nan_to_num(half), **style)
        each = _more(arm, continued)
        mean, half = mean_interval(each)
        right.errorbar(mean, -number, xerr=np.nan_to_num(half), **style)
        if arm is not continued:
            right.plot(each, [-number - 0.2] * len(each), ".", ms=4, color=style["color"])
    left.axhline(100 * np.mean(continued["accuracy"]), color="black", lw=0.8, ls="--")
    left.set_xlabel("MACs of training, relative to N + M of the unpruned net")
    left.set_ylabel("accuracy, % (dashed: unpruned, N + M)")
    right.axvline(0, color="black", lw=0.8, ls="--")
    right.set_yticks([-number for number in range(len(arms))], [arm["name"] for arm in arms])
    right.set_xlabel("points above the unpruned net after N + M (dots: seeds)")
    for axes in (left, right):
        axes.grid(True, alpha=0.2)


def _arm(arms: Sequence[Mapping[str, Any]], role: str, recipe: str = "") -> Any:
    """The arm with this role; None if the study has none."""
    return next((arm for arm in arms if (arm["role"], arm["recipe"]) == (role, recipe)), None)


def _more(arm: Mapping[str, Any], other: Mapping[str, Any]) -> list[float]:
    """Points of accuracy that an arm has more than another one with the same seed."""
    pairs = np.broadcast_arrays(np.array(arm["accuracy"]), np.array(other["accuracy"]))  # the base is one for all seeds
    return [float(each) for each in 100 * (pairs[0] - pairs[1])]


def _drop(arms: Sequence[Mapping[str, Any]], arm: Mapping[str, Any], recipe: Mapping[str, Any], share: float) -> str:
    base, continued, falling = (_arm(arms, role) for role in (BASE, CONTINUED, FALLING))
    drops = _more(continued, arm)
    words = (
        f"Pruned to {100 * share:g} % of the MACs ({arm['recipe']}), the drop from the unpruned net after N is "
        f"{shown(_more(base, arm), 1)} points, from that after N + M {shown(drops, 1)}. Is it still minor against N + M, "
        f"at most {MINOR:g}? {_capital(verdict(drops))}."
    )
    if recipe["gentle"] and falling is not None:
        drops = _more(falling, arm)
        words += (
            " With this recipe the learning rate falls to 0. Against the unpruned net after N + M whose rate does so, too, the "
            f"drop is {shown(drops, 1)} points. Minor? {_capital(verdict(drops))}."
        )
    return words


def _more_training(arms: Sequence[Mapping[str, Any]]) -> str:
    base, gains = _arm(arms, BASE), []
    for role, how in ((CONTINUED, "as before"), (RESTARTED, "restarted"), (FALLING, "with a rate that falls to 0")):
        arm = _arm(arms, role)
        if arm is not None:
            gains.append(f"{how} {shown(_more(arm, base), 1)}{_unclear(_more(arm, base))}")
    return (
        f"Points that M more epochs bring the unpruned net: {', '.join(gains)}. A drop that is measured from the net "
        "after N is smaller by so much."
    )


def _against_scratch(arms: Sequence[Mapping[str, Any]], arm: Mapping[str, Any]) -> str:
    others = (("scratch-E", SCRATCH_EPOCHS), ("scratch-B", SCRATCH_COMPUTE))
    found = [(name, _more(arm, _arm(arms, role, arm["recipe"]))) for name, role in others]
    found.append(("uniform width", _more(arm, _arm(arms, UNIFORM))))
    words = ", ".join(f"{name} {shown(each, 1)}{_unclear(each)}" for name, each in found)
    return f"Points that the pruned net ({arm['recipe']}) has more than a net from scratch: {words}."


def _unclear(values: Sequence[float]) -> str:
    """Words for a difference whose interval holds 0, or that has none."""
    return "" if clear(values) else " (unclear)"


def _means(seeds: Sequence[int]) -> str:
    return f"means over {len(seeds)} seeds, with 95 % intervals (Student's t)." if len(seeds) > 1 else "one seed, no interval."


def _count(values: Sequence[int]) -> str:
    return f"{round(float(np.mean(values))):,}"


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]
