"""Study `grid` in words that follow from its numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np

from keras_taylor.studies._grid_arms import UNPRUNED, title
from keras_taylor.studies._grid_panel import Panel
from keras_taylor.studies._statistics import shown


def answer(settings: Mapping[str, Any], values: Mapping[str, Any]) -> list[str]:
    """Whether criteria rank alike in all panels, whether random is worse, what pruning costs, and what nets these are."""
    panels = [Panel(one) for one in values["panels"]]
    found = [what_nets(panels, settings), same_order(panels)]
    found += [text for text in (random_is_worse(panels), cost(panels), reliability(panels)) if text]
    return found


def what_nets(panels: Sequence[Panel], settings: Mapping[str, Any]) -> str:
    """Whether these are the paper's nets."""
    scratch = [panel for panel in panels if not panel.values["pretrained"]]
    others = [panel.name for panel in panels if panel.values["pretrained"]]
    if not scratch:
        return f"All nets start from ImageNet's weights, as in the paper; {_seeds(settings)}."
    sizes = "; ".join(
        f"{panel.name}: {panel.values['size']} pixels, {100 * panel.values['width']:g} % of the width, "
        f"{2e-9 * panel.values['macs']:.3g} GFLOPs, {np.mean(panel.base):.3f} before pruning"
        for panel in scratch
    )
    kind = "Small nets" if all(panel.small for panel in scratch) else "Nets"
    return (
        f"{kind}, trained from scratch on the data set alone ({sizes}): their accuracies are not those of the paper's "
        f"nets, which start from ImageNet's weights{_here(others)}; "
        f"{_seeds(settings)}."
    )


def _here(names: Sequence[str]) -> str:
    return f", as these do here: {', '.join(names)}" if names else ""


def same_order(panels: Sequence[Panel]) -> str:
    """Question D: is the order of the criteria the same in all panels?"""
    orders = [panel.order() for panel in panels]
    listed = "; ".join(
        f"{panel.name}: {', '.join(f'{title(arm)} {shown(panel.mean(arm), 3)}' for arm in order)}"
        for panel, order in zip(panels, orders, strict=True)
    )
    question = "Is the order of the criteria the same in all panels, by accuracy averaged over the shares of maps left?"
    if len(panels) < 2:
        return f"{question} One panel cannot tell. {listed}."
    common = set(orders[0]).intersection(*orders)
    left_out = sorted(set().union(*orders) - common)
    if left_out:
        listed += f". Not in all panels, since a curve ends early: {', '.join(map(title, left_out))}"
    if len(common) < 2:
        return f"{question} Fewer than two criteria are in all panels, which cannot tell. {listed}."
    alike = len({tuple(arm for arm in order if arm in common) for order in orders}) == 1
    pairs = list(combinations(sorted(common), 2))
    decided = sum(panel.clear(*pair) for panel in panels for pair in pairs)
    counted = f"{decided} of {len(pairs) * len(panels)} differences between two criteria are larger than their intervals"
    if alike:
        return f"{question} Yes; {counted}. {listed}."
    turned = [text for pair in pairs for text in _turned(panels, *pair)]
    if turned:
        return f"{question} No: {'; '.join(turned)}. {counted.capitalize()}. {listed}."
    return f"{question} Not to the letter, but no two criteria change places by more than their intervals; {counted}. {listed}."


def random_is_worse(panels: Sequence[Panel]) -> str:
    """Whether the control speaks: random pruning is worse than the best criterion by more than the interval."""
    parts = []
    for panel in panels:
        others = [arm for arm in panel.order() if arm != "random"]
        if "random" not in panel.order() or not others:
            continue
        mean, half = panel.difference(others[0], "random")
        verdict = "yes" if mean > half > 0 else "NO"
        parts.append(f"{panel.name}: {verdict}, {title(others[0])} has {100 * mean:.1f} ± {100 * half:.1f} points more")
    if not parts:
        return ""
    return f"Is random pruning worse than the best criterion by more than the interval? {'; '.join(parts)}."


def cost(panels: Sequence[Panel]) -> str:
    """What the best criterion loses with half of the maps, against the net before and against N + M."""
    parts = []
    for panel in panels:
        order = panel.order()
        half = panel.accuracy(order[0], 0.5) if order else []
        if not half:
            continue
        before = [100 * (a - b) for a, b in zip(half, panel.base, strict=True)]
        text = f"{panel.name}: {title(order[0])} is {_apart(before)} the net before pruning"
        if UNPRUNED in panel.curves and panel.accuracy(UNPRUNED, 0.5):
            more = [100 * (a - b) for a, b in zip(half, panel.accuracy(UNPRUNED, 0.5), strict=True)]
            text += f", and {_apart(more)} the unpruned one after as many updates"
        parts.append(text)
    return f"With half of the maps: {'; '.join(parts)}." if parts else ""


def reliability(panels: Sequence[Panel]) -> str:
    """The least reliable score that comes from data."""
    halves = {
        (panel.name, name): float(np.mean(found["split-half"]))
        for panel in panels
        for name, found in panel.values["correlations"].items()
        if found["split-half"] and name != "random"
    }
    if not halves:
        return ""
    (panel_name, name), least = min(halves.items(), key=lambda item: item[1])
    return (
        "Split-half reliability of the scores that come from data (Spearman, per layer, between the halves of the sample): "
        f"{least:.2f} or more; the least is that of {title(name)} for {panel_name}."
    )


def _turned(panels: Sequence[Panel], a: str, b: str) -> list[str]:
    above = [panel.name for panel in panels if panel.clear(a, b) and panel.difference(a, b)[0] > 0]
    below = [panel.name for panel in panels if panel.clear(a, b) and panel.difference(a, b)[0] < 0]
    return [f"{title(a)} is above {title(b)} for {above[0]} and below for {below[0]}"] if above and below else []


def _apart(points: Sequence[float]) -> str:
    """`2.0 ± 0.5 points below`: a difference, with its direction in a word."""
    below = float(np.mean(points)) < 0
    return f"{shown([-one for one in points] if below else points, 1)} points {'below' if below else 'above'}"


def _seeds(settings: Mapping[str, Any]) -> str:
    count = len(settings["seeds"])
    if count > 1:
        return f"intervals (95 %, Student's t) are over {count} seeds, each of which trains nets of its own"
    return (
        "one seed: intervals (95 %) are what the number of test images leaves open, and do not say what another seed would do"
    )
