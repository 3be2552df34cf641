"""Tables, words and a figure for the disagreements of Taylor with activation pruning."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from keras_taylor.studies._quadrants import PLAYERS, QUADRANTS
from keras_taylor.studies._shapley import COALITIONS, MEASURES, label
from keras_taylor.studies._statistics import clear, mean_interval, shown
from keras_taylor.studies._study_table import StudyTable

TITLE = "Disagreements of Taylor with activation pruning"
SIZE = (11, 4.8)
RANKS = ("activation", "gradient", "oracle")


def tables(settings: Mapping[str, Any], values: Mapping[str, Any]) -> list[StudyTable]:
    """Where the criteria disagree, who is right, what it costs, and which class of channels makes the gap."""
    gaps, overall = values["shares"], values["mean of the shares"]
    return [
        disagreements_table(values["quadrants"], settings["shares"], len(settings["seeds"])),
        ranks_table(values["quadrants"]),
        gaps_table(gaps, values["unpruned"], settings["validation examples"], settings["seeds"]),
        shapley_table({**gaps, "mean": overall}),
    ]


def answer(settings: Mapping[str, Any], values: Mapping[str, Any]) -> list[str]:
    """Which class carries the gap, and what a user should do."""
    return carriers(values["shares"], values["mean of the shares"])


def disagreements_table(quadrants: Mapping[str, Any], shares: Sequence[float], seeds: int) -> StudyTable:
    """Where the criteria disagree, and what the oracle says of it."""
    names = [f"{share:g}" for share in shares]
    rows = []
    for quadrant, found in quadrants.items():
        parts = [
            [mine / all_ for mine, all_ in zip(found["disagreements"][n], found["all disagreements"][n], strict=True) if all_]
            for n in names
        ]
        oracles = [found[f"oracle, {criterion} alone removes"] for criterion in ("activation", "Taylor")]
        rows.append(
            [
                quadrant,
                f"{np.mean(found['channels']):.0f}",
                *(_shown([100 * one for one in part], 0, " %") for part in parts),
                *(_shown([None if one is None else 1000 * one for one in values], 2) for values in oracles),
            ]
        )
    counts = ", ".join(
        f"{np.mean(found):.0f} at {100 * float(name):g} %"
        for name, found in quadrants[QUADRANTS[0]]["all disagreements"].items()
    )
    caption = (
        "Channels by activation (a) and size of the gradient (g), above or not above their layer's median; channels that one "
        f"criterion removes and the other keeps ({counts} of the channels removed), by where they lie; and the mean absolute "
        f"oracle, in thousandths, of those that only one of them removes, all shares together. Means over {seeds} samples, "
        "with 95 % intervals (Student's t)."
    )
    header = ["quadrant", "channels", *(f"disagreements at {100 * share:g} %" for share in shares)]
    return StudyTable(caption, [*header, "oracle, activation removes", "oracle, Taylor removes"], rows)


def _shown(values: Sequence[float | None], digits: int, unit: str = "") -> str:
    found = [one for one in values if one is not None]
    return f"{shown(found, digits)}{unit}" if found else "none"


def ranks_table(quadrants: Mapping[str, Any]) -> StudyTable:
    """How close each criterion's ranks are to the oracle's, by quadrant."""
    columns = [*(f"Spearman, {one}" for one in ("Taylor", "activation", "alignment")), "regret, Taylor", "regret, activation"]
    rows = [[quadrant, *(_shown(found[column], 2) for column in columns)] for quadrant, found in quadrants.items()]
    caption = (
        "Within-layer percentile ranks against those by the absolute oracle, over the channels of a quadrant: Spearman's "
        "correlation, and the mean distance (rank regret; 0 is the oracle's order, over whole layers chance gives 1/3). "
        "Alignment is the absolute cosine of activation and gradient."
    )
    return StudyTable(caption, ["quadrant", *columns], rows)


def gaps_table(gaps: Mapping[str, Any], full: Mapping[str, float], count: int, seeds: Sequence[int]) -> StudyTable:
    """What each share costs by either criterion."""
    rows = []
    for share, found in gaps.items():
        ends = [found["coalitions"][label(one)] for one in (COALITIONS[0], COALITIONS[-1])]
        rows.append(
            [
                f"{100 * float(share):g} %",
                f"{100 * found['MACs']:.1f} %",
                *(shown([100 * one for one in end["accuracy"]], 1) for end in ends),
                shown([100 * one for one in found["gap"]["accuracy"]], 1),
                *(shown(end["loss"], 3) for end in ends),
                shown(found["gap"]["loss saved"], 3),
            ]
        )
    caption = (
        f"The same share of the free channels of every layer group silenced, without fine-tuning; on {count} validation "
        f"examples, where the unpruned net has {100 * full['accuracy']:.1f} % accuracy and a loss of {full['loss']:.3f}. "
        f"Means over {len(seeds)} samples for the scores; the intervals are about these, with the same net and "
        "validation examples."
    )
    header = ["channels removed", "MACs left", "activation, %", "Taylor, %", "gap, points"]
    return StudyTable(caption, [*header, "activation, loss", "Taylor, loss", "gap, loss saved"], rows)


def shapley_table(gaps: Mapping[str, Any]) -> StudyTable:
    """What each class of decisions is worth."""
    rows = []
    for share, found in gaps.items():
        name = "mean" if share == "mean" else f"{100 * float(share):g} %"
        for player, values in found["Shapley values"].items():
            cells = [shown([100 * one for one in values["accuracy"]], 2), shown(values["loss saved"], 3)]
            percent = [
                _percent(values[measure], found["gap"][measure]) if clear(found["gap"][measure]) else "" for measure in MEASURES
            ]
            rows.append([f"{name}: {player}", cells[0], percent[0], cells[1], percent[1]])
    caption = (
        "Shapley values of the gap, Taylor less activation: what it is worth to let Taylor rank the channels of a class. Above "
        "zero, Taylor's decisions there are the better ones. Parts of the gap only where its interval excludes zero."
    )
    return StudyTable(caption, ["share and class", "accuracy, points", "of the gap", "loss saved", "of the gap in loss"], rows)


def _percent(values: Sequence[float], gap: Sequence[float]) -> str:
    return f"{100 * np.mean(values) / np.mean(gap):.0f} %"


def carriers(gaps: Mapping[str, Any], pooled: Mapping[str, Any]) -> list[str]:
    """Which class carries the gap, by the means over the shares."""
    shares = ", ".join(f"{100 * float(share):g}" for share in gaps)
    points = shown([100 * one for one in pooled["gap"]["accuracy"]], 2)
    found = [
        f"Taylor less activation, the mean over {shares} % of the channels of every layer group removed: {points} points of "
        f"accuracy, and {shown(pooled['gap']['loss saved'], 3)} of loss saved."
    ]
    found += [_verdict(pooled, measure) for measure in MEASURES]
    apart = [
        f"at {100 * float(share):g} % {'Taylor' if np.mean(one['gap']['accuracy']) > 0 else 'activation'} is better"
        for share, one in gaps.items()
        if clear(one["gap"]["accuracy"])
    ]
    if len(pooled["gap"]["accuracy"]) > 1:
        found.append(f"Share by share, in accuracy: {', '.join(apart) or 'no gap excludes zero'}.")
    return [*found, _advice(pooled)]


def _verdict(pooled: Mapping[str, Any], measure: str) -> str:
    gap, values = pooled["gap"][measure], pooled["Shapley values"]
    name = "accuracy" if measure == "accuracy" else "loss"
    scale, digits, unit = (100, 2, " points") if measure == "accuracy" else (1, 3, "")
    apart = [player for player in PLAYERS if clear(values[player][measure])]
    each = "; ".join(f'"{player}" {shown([scale * one for one in values[player][measure]], digits)}{unit}' for player in apart)
    if len(gap) < 2:
        return f"One sample gives no interval: nothing can be said about what carries the gap in {name}."
    if not clear(gap):
        text = f"The gap in {name} cannot be told from zero: a null result, and no class of disagreement carries it"
        return f"{text}, but classes taken alone differ from zero: {each}." if apart else f"{text}."
    parts = ", ".join(f'"{player}" {_percent(values[player][measure], gap)}' for player in PLAYERS)
    carrier = _carrier(pooled, measure)
    told = f'"{carrier}" has the largest part' if carrier else "no single class can be told to carry it"
    return f"Of the gap in {name}: {parts}; {told}{f' (apart from zero: {each})' if apart else ''}."


def _carrier(pooled: Mapping[str, Any], measure: str) -> str | None:
    """The class with the largest part of a gap that excludes zero, if its own interval does so too."""
    gap, values = pooled["gap"][measure], pooled["Shapley values"]
    sign = np.sign(np.mean(gap))
    best = max(PLAYERS, key=lambda player: sign * float(np.mean(values[player][measure])))
    apart = clear(gap) and clear(values[best][measure]) and sign * np.mean(values[best][measure]) > 0
    return best if apart else None


_WHY = {
    "high a, low g": "strong activations to which the loss is not sensitive, which activation overrates",
    "low a, high g": "weak activations to which the loss is sensitive, which activation underrates",
    "rest": "channels of which activation and gradient are both high or both low, so neither size tells the criteria apart",
}


def _advice(pooled: Mapping[str, Any]) -> str:
    measure = next((one for one in MEASURES if clear(pooled["gap"][one])), None)
    if len(pooled["gap"]["accuracy"]) < 2:
        return "For a user: nothing follows from one sample; pass several seeds."
    if measure is None:
        half = 100 * mean_interval(pooled["gap"]["accuracy"])[1]
        return (
            "For a user: this gives no reason to prefer Taylor to activation, or the other way round, where every layer loses "
            f"the same share; a gap of up to about {half:.1f} points would go unseen here. More seeds and examples see more."
        )
    name = "accuracy" if measure == "accuracy" else "loss, though not in accuracy"
    carrier = _carrier(pooled, measure)
    better = np.mean(pooled["gap"][measure]) > 0
    advice = f"For a user: prefer {'Taylor' if better else 'activation'}; it is better in {name}"
    if carrier is None:
        return f"{advice}, in no single class of channels."
    if better:
        return f'{advice}, most of all by its decisions about "{carrier}": {_WHY[carrier]}.'
    return f'{advice}, most of all since Taylor decides worse about "{carrier}".'


def draw(figure: Any, values: Mapping[str, Any]) -> None:
    """Shapley values, and the channels of a sample in their quadrants."""
    gaps = values["shares"]
    left, right = figure.subplots(1, 2)
    for number, (player, colour) in enumerate(zip(PLAYERS, ("tab:orange", "tab:blue", "tab:grey"), strict=True)):
        each = [[100 * value for value in found["Shapley values"][player]["accuracy"]] for found in gaps.values()]
        means, halves = zip(*map(mean_interval, each), strict=True)
        at = np.arange(len(gaps)) + 0.27 * (number - 1)
        left.bar(at, means, 0.25, yerr=np.nan_to_num(halves), color=colour, capsize=3, label=player)
        left.plot(np.repeat(at + 0.07, len(each[0])), np.ravel(each), "k.", ms=4)
    left.axhline(0, color="black", lw=0.8)
    left.set_xticks(range(len(gaps)), [f"{100 * float(share):g} %" for share in gaps])
    left.set_xlabel("channels removed from every layer group")
    left.set_ylabel("Shapley value, points of accuracy")
    left.set_title("What Taylor's ranks gain, by class; dots: each sample", fontsize=10)
    left.grid(True, axis="y", alpha=0.3)
    left.legend(fontsize=8)
    a, g, truth = (values["ranks of the first sample"][name] for name in RANKS)
    points = right.scatter(a, g, c=truth, cmap="viridis", s=12, rasterized=True)
    right.axhline(0.5, color="grey", lw=0.8)
    right.axvline(0.5, color="grey", lw=0.8)
    right.set_xlabel("rank of the activation within the layer")
    right.set_ylabel("rank of the size of the gradient within the layer")
    right.set_title("Channels of the first sample", fontsize=10)
    figure.colorbar(points, ax=right, label="rank of the absolute oracle within the layer")
