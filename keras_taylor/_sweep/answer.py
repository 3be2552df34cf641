"""How much pruning is still possible at 8 bits: in words, computed from the rows."""

from __future__ import annotations

import math
from collections.abc import Sequence

from keras_taylor._sweep.rows import SweepGroup, mean_and_spread


def answer(groups: Sequence[SweepGroup], margin: float = 0.01) -> str:
    """A few sentences about the groups of a sweep, with one line for each precision and order.

    Args:
        groups: of rows that differ in their seeds alone.
        margin: accuracy that may be lost, as a fraction: 0.01 is one point.
    """
    full = next((g for g in groups if g.target == 1 and g.quantizer == "float32"), None)
    eight = [g for g in groups if g.bits == (8, 8)]
    kinds = list(dict.fromkeys((g.quantizer, g.order) for g in eight))
    if full is None or not any(g.target < 1 for g in eight):
        return (
            "How much pruning is possible at 8 bits cannot be said: that takes the target 1.0 in float32, and smaller targets "
            "in 8 bits (int8_ptq, int8_qat, dynamic)."
        )
    allowed = f"{100 * margin:g} point{'' if margin == 0.01 else 's'}"
    accuracy = full.number("accuracy")
    n = full.rows[0].examples
    error = math.sqrt(max(accuracy * (1 - accuracy), 0.0) / n)
    fits = [g for g in eight if g.target < 1 and _loss(g, full) <= margin]
    best = min(fits, key=lambda g: (g.target, g.number("bops"), -g.number("accuracy")), default=None)
    said = (
        f"At 8 bits {_verdict(best, full, eight, allowed)} The unpruned float32 file has an accuracy of "
        f"{mean_and_spread(full, 'accuracy')} ({_seeds(full)}); {n:,} examples give a single accuracy a standard error of "
        f"about {error:.4f}. {_fronts(groups, accuracy - margin)}"
    )
    lines = [f"- {_kind([g for g in eight if (g.quantizer, g.order) == kind], full, margin, allowed)}" for kind in kinds]
    return "\n".join([said, "", *lines])


def _verdict(best: SweepGroup | None, full: SweepGroup, eight: Sequence[SweepGroup], allowed: str) -> str:
    if best is None:
        nearest = min((g for g in eight if g.target < 1), key=lambda g: _loss(g, full))
        return (
            f"no target below 1 that was tried stays within {allowed} of the unpruned float32 file: the nearest is "
            f"{_label(nearest)}, {_points(_loss(nearest, full))} below."
        )
    smallest = best.target == min(g.target for g in eight)
    return (
        f"the network can be pruned to {100 * best.target:g} % of its MACs ({_named(best)}) and stays within {allowed} of the "
        f"unpruned float32 file{'; that is the smallest target tried, so the limit lies below it' if smallest else ''}."
    )


def _kind(groups: Sequence[SweepGroup], full: SweepGroup, margin: float, allowed: str) -> str:
    """What one quantizer, in one order, allows."""
    own = next((g for g in groups if g.target == 1), None)
    pruned = [g for g in groups if g.target < 1]
    parts = []
    if own is not None:
        parts.append(f"unpruned {_figures(own)}")
    if pruned:
        parts.append(_within(pruned, full, margin, allowed, "the unpruned float32 file"))
        if own is not None:
            parts.append(_within(pruned, own, margin, allowed, "its own unpruned file"))
    return f"{_named(groups[0])}: {'; '.join(parts)}."


def _within(pruned: Sequence[SweepGroup], reference: SweepGroup, margin: float, allowed: str, name: str) -> str:
    fits = [g for g in pruned if _loss(g, reference) <= margin]
    if not fits:
        nearest = min(pruned, key=lambda g: _loss(g, reference))
        return (
            f"within {allowed} of {name} no smaller target, the nearest being {nearest.target:g} ({_figures(nearest)}, "
            f"{_points(_loss(nearest, reference))} below)"
        )
    found = min(fits, key=lambda g: g.target)
    return (
        f"within {allowed} of {name} down to the target {found.target:g} ({_figures(found)}{_paired(found, reference, margin)})"
    )


def _fronts(groups: Sequence[SweepGroup], least: float) -> str:
    """The fewest BOPs of each front at equal accuracy."""
    families = families_of(groups)
    parts = []
    for name, members in families.items():
        fits = [g for g in members if g.number("accuracy") >= least - 1e-9]
        if fits:
            best = min(fits, key=lambda g: (g.number("bops"), -g.number("accuracy")))
            parts.append(f"{name} {_share(best)} of the BOPs ({_label(best)})")
        else:
            parts.append(f"{name} does not reach it")
    return f"At an accuracy of at least {least:.4f}: {', '.join(parts)}."


def families_of(groups: Sequence[SweepGroup]) -> dict[str, list[SweepGroup]]:
    """The three fronts; the unpruned float32 model belongs to the first two."""
    return {
        "prune only": [g for g in groups if g.quantizer == "float32"],
        "quantize only": [g for g in groups if g.target == 1],
        "both": [g for g in groups if g.target < 1 and g.quantizer != "float32"],
    }


def _loss(group: SweepGroup, reference: SweepGroup) -> float:
    return round(reference.number("accuracy") - group.number("accuracy"), 9)


def _paired(group: SweepGroup, reference: SweepGroup, margin: float) -> str:
    """In how many of the common seeds it holds for the seed by itself."""
    theirs = {row.seed: row.accuracy for row in reference.rows}
    losses = [round(theirs[row.seed] - row.accuracy, 9) for row in group.rows if row.seed in theirs]
    return f", in {sum(loss <= margin for loss in losses)} of {len(losses)} seeds" if len(losses) > 1 else ""


def _figures(group: SweepGroup) -> str:
    return f"{mean_and_spread(group, 'accuracy')} at {_share(group)} of the BOPs"


def _share(group: SweepGroup) -> str:
    return f"{100 * group.number('relative_bops'):.3g} %"


def _points(loss: float) -> str:
    return f"{100 * loss:.3g} points"


def _label(group: SweepGroup) -> str:
    return f"{_named(group)} at {group.target:g}"


def _named(group: SweepGroup) -> str:
    return group.quantizer if group.order == "prune_quantize" else f"{group.quantizer}, {group.order}"


def _seeds(group: SweepGroup) -> str:
    return "1 seed" if len(group.rows) == 1 else f"{len(group.rows)} seeds"
