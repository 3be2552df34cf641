"""Accuracy against BOPs: what pruning, quantization, and both together reach."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from keras_taylor._output.figures import write_figure
from keras_taylor._sweep.answer import families_of
from keras_taylor._sweep.rows import SweepGroup, front

_STYLES = {"prune only": ("tab:blue", "o"), "quantize only": ("tab:orange", "s"), "both": ("tab:green", "D")}


def draw(groups: Sequence[SweepGroup], path: str | Path) -> None:
    """Write the figure; the suffix of `path` decides the format.

    Each point is a mean over seeds, with the standard deviation as its bar; lines join the points that no other point of the
    same colour beats.

    Raises:
        BadInput: a suffix other than .svg, .png and .pdf, or a path that cannot be written.
    """
    write_figure(path, lambda figure: _fronts(figure, groups), (8, 5))


def _fronts(figure: Any, groups: Sequence[SweepGroup]) -> None:
    axes = figure.subplots()
    for name, members in families_of(groups).items():
        if not members:
            continue
        colour, marker = _STYLES[name]
        x, y = [100 * g.number("relative_bops") for g in members], [g.number("accuracy") for g in members]
        bars = [g.spread("accuracy") for g in members]
        axes.errorbar(x, y, bars, fmt=marker, color=colour, alpha=0.4, capsize=2)
        best = front(members, "bops", "accuracy")
        x, y = [100 * g.number("relative_bops") for g in best], [g.number("accuracy") for g in best]
        axes.plot(x, y, marker=marker, color=colour, label=name)
        for g, a, b in zip(best, x, y, strict=True):
            note = g.quantizer if g.target == 1 else f"{100 * g.target:g} %" if name == "prune only" else _both(g)
            axes.annotate(note, (a, b), xytext=(4, -10), textcoords="offset points", fontsize=7, color=colour)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set_xlabel("BOPs, % of the unpruned float32 model")
    axes.set_ylabel("accuracy of the .tflite file")
    axes.grid(True, which="both", alpha=0.2)
    axes.legend()


def _both(group: SweepGroup) -> str:
    return f"{100 * group.target:g} %, {group.quantizer}"
