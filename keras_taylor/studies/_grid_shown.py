"""Study `grid` in tables and a figure; `_grid_answer` has the words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from keras_taylor.studies._correlation_shown import KINDS
from keras_taylor.studies._grid_answer import answer
from keras_taylor.studies._grid_arms import UNPRUNED, title
from keras_taylor.studies._grid_panel import Panel
from keras_taylor.studies._grid_paper import correlations, published
from keras_taylor.studies._statistics import mean_interval, shown
from keras_taylor.studies._study_table import StudyTable

__all__ = ["SIZE", "TITLE", "answer", "draw", "tables"]

TITLE = "Both networks on both data sets"
SIZE = (18, 9)
MAPS, MACS = (0.75, 0.5, 0.25, 0.1), (0.5, 0.25)
_NOT_CHECKED = "the pruned points could not be checked against its text"


def tables(settings: Mapping[str, Any], values: Mapping[str, Any]) -> list[StudyTable]:
    """A table of curves for each panel, the published points beside ours, and the correlations beside the paper's."""
    panels = [Panel(one) for one in values["panels"]]
    made = [_curves(panel, settings) for panel in panels]
    made += [_beside(panel) for panel in panels if published(panel.net, panel.data) and panel.order()]
    return made + [_correlations(panel) for panel in panels if panel.values["correlations"]]


def draw(figure: Any, values: Mapping[str, Any]) -> None:
    """Accuracy over the maps left (above) and the GFLOPs left (below), a column for each panel."""
    panels = [Panel(one) for one in values["panels"]]
    figure.set_size_inches(max(4.5 * len(panels), 6), SIZE[1])
    axes = figure.subplots(2, len(panels), squeeze=False)
    for number, panel in enumerate(panels):
        for row, of in enumerate(("maps", "macs")):
            _draw(axes[row][number], panel, of)
        axes[0][number].set_title(
            panel.name + ("" if panel.values["pretrained"] else f"\n({'small net, ' if panel.small else ''}from scratch)"),
            fontsize=10,
        )
    for row in axes:
        row[0].set_ylabel("accuracy on the test images, %")
    known = {label: handle for ax in axes.flat for handle, label in zip(*ax.get_legend_handles_labels(), strict=True)}
    figure.legend(known.values(), known.keys(), loc="outside lower center", ncols=min(len(known), 2 * len(panels)), fontsize=9)


def _draw(axes: Any, panel: Panel, of: str) -> None:
    for number, (arm, curves) in enumerate(panel.curves.items()):
        style = {"color": f"C{number % 10}", "label": title(arm), "lw": 1.3}
        if arm == UNPRUNED and of == "macs":
            axes.axhline(100 * np.mean([curve[-1]["accuracy"] for curve in curves]), ls="--", **style)
            continue
        x = np.mean([[point["at" if of == "maps" else "macs"] for point in curve] for curve in _even(curves)], 0)
        pairs = [mean_interval(column) for column in zip(*([p["accuracy"] for p in c] for c in _even(curves)), strict=True)]
        means, halves = np.array(pairs).T
        errors = np.mean([[point["standard error"] for point in curve] for curve in _even(curves)], 0)
        marks = {"ls": "--"} if arm == UNPRUNED else {"marker": "osD^vPX"[number % 7], "ms": 3.5}
        bars = 100 * np.where(np.isnan(halves), errors, halves)
        axes.errorbar(100 * x / panel.values[of], 100 * means, bars, capsize=2, elinewidth=0.6, **marks, **style)
    for point in published(panel.net, panel.data):
        share = point.maps if of == "maps" else point.flops
        axes.plot(100 * share, 100 * point.accuracy, "k*", ms=10, mfc="none", label="the paper's, full net from ImageNet")
    full = panel.values[of]
    words = f"maps left, % of {full:,}" if of == "maps" else f"GFLOPs left, % of {2e-9 * full:.3g}"
    axes.set_xlabel(words)
    axes.invert_xaxis()
    axes.grid(True, alpha=0.2)


def _even(curves: Sequence[Sequence[Mapping[str, Any]]]) -> list[Sequence[Mapping[str, Any]]]:
    """The curves, each as long as the shortest one: one may have ended early, where no map could go any more."""
    least = min(map(len, curves))
    return [curve[:least] for curve in curves]


def _curves(panel: Panel, settings: Mapping[str, Any]) -> StudyTable:
    last = max(panel.values["until"], MAPS[-1])
    shares = [*(share for share in MAPS if share > last), last]
    rows = []
    for arm in panel.curves:
        cells = [_percent(panel, panel.mean(arm))]
        cells += [_percent(panel, panel.accuracy(arm, share)) for share in shares]
        cells += [_percent(panel, [] if arm == UNPRUNED else panel.accuracy(arm, share, "macs")) for share in MACS]
        curve = panel.curves[arm][0]
        rows.append([title(arm), *cells, f"{curve[-1]['updates']:,}"])
    several = len(settings["seeds"]) > 1
    how = (
        "means over seeds with 95 % intervals (Student's t)"
        if several
        else "in brackets the standard error from the test images"
    )
    start = "from ImageNet's weights" if panel.values["pretrained"] else "from scratch"
    caption = (
        f"{panel.name} ({start}; {panel.values['classes']} classes, {panel.values['training images']:,} training and "
        f"{panel.values['test images']:,} test images, {panel.values['size']} pixels; {panel.values['maps']:,} maps, "
        f"{2e-9 * panel.values['macs']:.3g} GFLOPs; before pruning {_percent(panel, panel.base)} % after "
        f"{panel.values['updates before']:,} updates). Accuracy in %, {how}, read from the curves: averaged over 90 % of the "
        f"maps down to {100 * panel.values['until']:.3g} % in steps of 10, with so many maps left, and with so many GFLOPs "
        "left. The unpruned net is read after as many updates as a pruned one has had; the library's own recipe chooses other "
        "maps at other times, so its points lie elsewhere. Updates are those at the end of the curve. No test image "
        "chose anything."
    )
    header = ["arm", "mean", *(f"{100 * share:.3g} % of maps" for share in shares), *(f"{100 * s:g} % of GFLOPs" for s in MACS)]
    return StudyTable(caption, [*header, "updates"], rows)


def _percent(panel: Panel, values: Sequence[float]) -> str:
    if not values:
        return ""
    text = shown([100 * one for one in values], 1)
    mean = float(np.mean(values))
    error = 100 * np.sqrt(mean * (1 - mean) / panel.values["test images"])
    return f"{text} ({error:.1f})" if len(values) == 1 else text


def _beside(panel: Panel) -> StudyTable:
    best, rows = panel.order()[0], []
    for point in published(panel.net, panel.data):
        here = (_percent(panel, panel.accuracy(best, share, of)) for share, of in ((point.maps, "maps"), (point.flops, "macs")))
        cells = [f"{100 * point.maps:g} %", f"{100 * point.flops:.1f} %", f"{100 * point.accuracy:.1f}"]
        rows.append(["the paper's" if point.maps < 1 else "the paper's, before pruning", *cells, *here])
    caption = (
        f"{panel.name}: the paper's points (the full net from ImageNet's weights, on {point_data(panel)}; {_NOT_CHECKED}) "
        f"beside {title(best)} here, with as many maps and with as many GFLOPs left."
    )
    header = ["point", "maps left", "GFLOPs left", "paper", "here, as many maps", "here, as many GFLOPs"]
    return StudyTable(caption, header, rows)


def point_data(panel: Panel) -> str:
    """The paper's data set of a panel."""
    return "Flowers-102" if "flowers" in panel.data.lower() else "Birds-200"


def _correlations(panel: Panel) -> StudyTable:
    theirs, rows = correlations(panel.net, panel.data), []
    for name, found in panel.values["correlations"].items():
        here = [shown(found[kind]) for kind in KINDS]
        paper = ["" if one is None else f"{one:.2f}" for one in theirs.get(name, (None,) * len(KINDS))]
        halves = shown(found["split-half"]) if found["split-half"] else ""
        rows.append([f"`{name}`", *here, *paper, halves])
    beside = (
        f"Beside them the paper's, of the full net on {point_data(panel)}"
        f"{'' if panel.net == 'vgg16' and 'birds' in panel.data.lower() else ' (not checked against its text)'}. "
        if theirs
        else ""
    )
    caption = (
        f"{panel.name}: Spearman correlation with the absolute oracle before pruning, over the maps, on "
        f"{panel.values['oracle images']} training images. {beside}Split-half: per layer, between the scores from both halves "
        "of these images, where scores come from data."
    )
    header = ["criterion", *(f"{kind}: {where}" for where in ("here", "paper") for kind in KINDS), "split-half"]
    return StudyTable(caption, header, rows)
