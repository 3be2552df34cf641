"""Study `correlation` in tables, words and a figure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from keras_taylor.studies._statistics import clear, mean_interval, shown
from keras_taylor.studies._study_table import StudyTable

TITLE = "Criteria against the oracle"
SIZE = (9, 6)
EQ8, GATE, ABSOLUTE = "taylor (Eq. 8)", "taylor_gate (without 1/M)", "taylor_gate, tied=absolute"

# Per layer, all layers, all layers with l2: VGG-16 on Birds-200, from the submitted version of the paper.
PAPER = {
    "magnitude": (0.27, 0.34, 0.33),
    "activation": (0.56, 0.35, 0.64),
    "activation_std": (0.57, 0.30, 0.66),
    "mutual_information": (0.28, 0.35, 0.47),
    EQ8: (0.73, 0.14, 0.73),
}
KINDS = ("per layer", "all layers", "all layers, l2")


def tables(settings: Mapping[str, Any], values: Mapping[str, Any]) -> list[StudyTable]:
    """All criteria, those of the paper beside its figures, and the tied channels where there are any."""
    found = values["correlations"]
    made = [main_table(found, values["oracle with oracles of other examples"], settings), paper_table(found)]
    return [*made, tied_table(values["tied"], settings["tied channels"])] if "tied" in values else made


def answer(settings: Mapping[str, Any], values: Mapping[str, Any]) -> list[str]:
    """The best criterion, what normalisation does, and what signs do in tied channels."""
    found = [best(values["correlations"]), *normalisation(values["correlations"])]
    return [*found, tied_answer(values["tied"])] if "tied" in values else found


def main_table(values: Mapping[str, Any], ceiling: Mapping[str, Any], settings: Mapping[str, Any]) -> StudyTable:
    """Every criterion, the best ones first, and the oracle itself."""
    rows = [
        [
            f"`{label}`",
            *(shown(found[kind]) for kind in KINDS),
            f"{np.mean(found['other examples']):.2f}" if found["other examples"] else "",
            shown(found["split-half"]) if found["split-half"] else "",
        ]
        for label, found in sorted(values.items(), key=lambda item: -max(np.mean(item[1][kind]) for kind in KINDS[1:]))
    ]
    if ceiling["per layer"]:
        mean = {kind: f"{np.mean(found):.2f}" for kind, found in ceiling.items()}
        rows.append(
            ["the oracle itself, from other examples", mean["per layer"], mean["all layers"], "", mean["all layers"], ""]
        )
    overlap = f"two samples share {100 * settings['examples'] / settings['data']:.0f} % of their examples on average"
    caption = (
        f"Spearman correlation with the absolute oracle; means over {len(settings['seeds'])} samples, with 95 % intervals "
        "(Student's t). "
        f"Other examples: the better of both columns before, against the oracles of the other samples; {overlap}. "
        "Split-half: per layer, between the scores from both halves of a sample, where scores come from data."
    )
    return StudyTable(caption, ["criterion", *KINDS, "other examples", "split-half"], rows)


def paper_table(values: Mapping[str, Any]) -> StudyTable:
    """The criteria that the paper measured, with its figures."""
    rows = []
    for label, published in PAPER.items():
        if label in values:
            here = [f"{np.mean(values[label][kind]):.2f}" for kind in KINDS]
            rows.append([f"`{label}`", *(f"{one:.2f}" for one in published), *here])
    header = ["criterion", *(f"{kind}: {where}" for where in ("paper", "here") for kind in KINDS)]
    return StudyTable("Beside VGG-16 on Birds-200 in the paper (Table 1 of the submitted version), another net.", header, rows)


def best(values: Mapping[str, Any]) -> str:
    """The criterion with the highest correlation over all layers."""
    label, kind = max(
        ((label, kind) for label in values for kind in KINDS[1:]), key=lambda pair: np.mean(values[pair[0]][pair[1]])
    )
    return f"Best over all layers: `{label}` with {shown(values[label][kind])} ({kind})."


def normalisation(values: Mapping[str, Any]) -> list[str]:
    """Does dropping 1/M remove the need for normalisation? From paired differences over the seeds."""
    if not {EQ8, GATE} <= set(values):
        return []
    raw, scaled = values[EQ8]["all layers"], values[EQ8]["all layers, l2"]
    bare, both = values[GATE]["all layers"], values[GATE]["all layers, l2"]
    gain = [a - b for a, b in zip(bare, scaled, strict=True)]
    need = [a - b for a, b in zip(both, bare, strict=True)]
    if len(need) < 2:
        verdict = "one sample cannot tell whether it still needs normalisation"
    elif clear(need) and np.mean(need) > 0:
        verdict = "dropping 1/M does not remove the need for normalisation: l2 still helps"
    else:
        harm = ", and l2 harms" if clear(need) else ""
        verdict = f"dropping 1/M removes the need for normalisation{harm}"
    return [
        f"Over all layers, Eq. 8 has {shown(raw)} as it is and {shown(scaled)} with l2 per layer; without 1/M it is "
        f"{shown(bare)} as it is and {shown(both)} with l2 ({shown(need)} more), so here {verdict}. Without 1/M and without "
        f"normalisation it has {shown(gain)} more than Eq. 8 with l2."
    ]


def tied_table(tied: Mapping[str, Any], count: int) -> StudyTable:
    """Signed sums of the members of tied channels against sums of absolute values."""
    rows = []
    for where, found in tied.items():
        low, high = found["interval"]
        rows.append(
            [where, shown(found[GATE]), shown(found[ABSOLUTE]), f"{found['difference']:+.3f}", f"{low:+.3f} to {high:+.3f}"]
        )
    caption = (
        f"Tied channels ({count} of them are read at several places): the signed sum of each example's members against the sum "
        "of absolute values. Spearman with the absolute oracle over all layers, as they are; the interval (95 %) by "
        "resampling channels."
    )
    return StudyTable(caption, ["over", "signed", "absolute", "difference", "interval"], rows)


def tied_answer(tied: Mapping[str, Any]) -> str:
    """Which of both sums ranks tied channels better, if the interval tells."""
    found = tied["tied channels"]
    low, high = found["interval"]
    verdict = "ranks closer to the oracle than" if low > 0 else "ranks worse than" if high < 0 else "cannot be told apart from"
    return (
        f"Tied channels: the signed sum per example {verdict} the sum of absolute values (difference "
        f"{found['difference']:+.3f}, 95 % interval {low:+.3f} to {high:+.3f})."
    )


def draw(figure: Any, values: Mapping[str, Any]) -> None:
    """The correlations of every criterion, with their intervals."""
    axes, found = figure.subplots(), values["correlations"]
    order = sorted(found, key=lambda label: max(np.mean(found[label][kind]) for kind in KINDS[1:]))
    for kind, marker, shift in zip(KINDS, ("o", "s", "D"), (-0.2, 0, 0.2), strict=True):
        pairs = [mean_interval(found[label][kind]) for label in order]
        means, halves = zip(*pairs, strict=True)
        axes.errorbar(means, np.arange(len(order)) + shift, xerr=np.nan_to_num(halves), fmt=marker, ms=4, capsize=2, label=kind)
    axes.set_yticks(range(len(order)), order, fontsize=8)
    axes.axvline(0, color="grey", lw=0.5)
    axes.set_xlim(-0.5, 1.02)
    axes.set_xlabel("Spearman correlation with the absolute oracle")
    axes.grid(True, axis="x", alpha=0.3)
    axes.legend(loc="lower left")
