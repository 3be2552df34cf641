"""Study `obd` in tables, words and a figure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from keras_taylor.studies._statistics import mean_interval, shown
from keras_taylor.studies._study_table import StudyTable

TITLE = "Optimal Brain Damage against Taylor"
SIZE = (9, 6)
REFERENCE = "taylor_gate"
EXACT, FISHER = "obd, exact (Gauss-Newton)", "obd, Fisher (1 draw)"

# What stands in the paper (OBD about 30 times slower than Taylor) and in its review (50 % slower, done well).
AUTHORS, REVIEW = 30.0, 1.5


def tables(settings: Mapping[str, Any], values: Mapping[str, Any]) -> list[StudyTable]:
    """Correlations with the oracle, and cost beside accuracy."""
    found = values["criteria"]
    first = rank_table(found, len(settings["seeds"]), settings["tied channels"])
    return [first, cost_table(found, values["accuracy by the oracle"], values["unpruned accuracy"], settings)]


def answer(settings: Mapping[str, Any], values: Mapping[str, Any]) -> list[str]:
    """What second derivatives cost, and what they bring."""
    return verdict(values["criteria"], values["accuracy by the oracle"])


def rank_table(values: Mapping[str, Any], seeds: int, tied: int) -> StudyTable:
    """Every criterion's correlations."""
    columns = [name for name in next(iter(values.values())) if name not in ("seconds", "megabytes", "accuracy")]
    rows = [[label, *(shown(found[name]) for name in columns)] for label, found in values.items()]
    caption = (
        f"Spearman correlation with the absolute oracle (but for the column `with {REFERENCE}`, which is with that criterion); "
        f"means over {seeds} samples, with 95 % intervals (Student's t)."
    )
    if tied:
        caption += f" The last two columns: channels that one layer reads, and the {tied} that several layers read."
    return StudyTable(caption, ["criterion", *columns], rows)


def _slower(values: Mapping[str, Any], label: str) -> float:
    """The median over the repetitions of the time relative to the reference's in the same turn."""
    pairs = zip(values[label]["seconds"], values[REFERENCE]["seconds"], strict=True)
    return float(np.median([mine / reference for mine, reference in pairs]))


def cost_table(values: Mapping[str, Any], oracle: Mapping[str, Any], whole: float, settings: Mapping[str, Any]) -> StudyTable:
    """Every criterion's time, memory and accuracy after pruning."""
    rows = []
    for label, found in values.items():
        peak = found["megabytes"]
        cells = [f"{_slower(values, label):.2f}", "" if peak is None else f"{peak:,.0f}"]
        rows.append([label, *cells, *(shown(accuracy, 3) for accuracy in found["accuracy"].values())])
    rows.append(["the absolute oracle itself", "", "", *(shown(accuracy, 3) for accuracy in oracle.values())])
    budgets = [f"accuracy at {100 * float(share):g} %" for share in next(iter(values.values()))["accuracy"]]
    caption = (
        f"Time to score {settings['timed']} images in batches of {settings['batch_size']}, relative to `{REFERENCE}` alone, "
        f"without tracing (medians of {settings['repetitions']} turns); peak memory of one batch, in a process of its own, "
        "above what was in use; accuracy on the validation data, pruned to a share of the MACs, without fine-tuning (unpruned: "
        f"{whole:.3f})."
    )
    return StudyTable(caption, ["criterion", "time", "peak MB", *budgets], rows)


def verdict(values: Mapping[str, Any], oracle: Mapping[str, Any]) -> list[str]:
    """The cost against what the paper and its review say, and the gains over the reference."""
    exact, fisher = (_slower(values, label) for label in (EXACT, FISHER))
    cost = (
        f"Cost of OBD: exact {exact:.1f} times `{REFERENCE}`, estimated with one draw of labels {fisher:.2f} times. The paper "
        f"says {AUTHORS:.0f} times, its review {REVIEW:.1f} with a better implementation: "
    )
    words = "more than" if fisher > 1.2 * REVIEW else "less than" if fisher < REVIEW / 1.2 else "about what"
    cost += f"here the estimate costs {words} the review thought, and exactness {exact / fisher:.1f} times the estimate."
    gains = []
    points = _points(oracle, values[REFERENCE]["accuracy"])
    for label in (EXACT, FISHER, "taylor2, Fisher", "taylor_logits"):
        ranks = [a - b for a, b in zip(values[label]["all layers"], values[REFERENCE]["all layers"], strict=True)]
        more = _points(values[label]["accuracy"], values[REFERENCE]["accuracy"])
        gains.append(f"{label} {shown(ranks)} ({more} points)")
    budgets = ", ".join(f"{100 * float(share):g}" for share in oracle)
    return [
        cost,
        f"Gain over `{REFERENCE}` in correlation with the oracle over all layers (and in accuracy at {budgets} % of the MACs): "
        f"{'; '.join(gains)}.",
        f"What is closest to the oracle need not prune best: the oracle's own order has {points} points.",
    ]


def _points(accuracies: Mapping[str, Any], reference: Mapping[str, Any]) -> str:
    """Points of accuracy that one has more than the other, at each share."""
    return ", ".join(f"{100 * (np.mean(found) - np.mean(reference[share])):+.1f}" for share, found in accuracies.items())


def draw(figure: Any, values: Mapping[str, Any]) -> None:
    """Correlation with the oracle over time, and accuracy over the share of the MACs."""
    left, right = figure.subplots(1, 2)
    for number, (label, found) in enumerate(values["criteria"].items()):
        style = {"color": f"C{number % 10}", "marker": "osD^vPX"[number % 7]}
        ranks = np.mean(found["all layers"]), np.nan_to_num(mean_interval(found["all layers"])[1])
        left.errorbar(_slower(values["criteria"], label), *ranks, capsize=2, ls="", label=label, **style)
        means = [100 * np.mean(each) for each in found["accuracy"].values()]
        right.plot([100 * float(share) for share in found["accuracy"]], means, **style)
    left.set_xscale("log")
    left.xaxis.set_major_formatter("{x:g}")
    left.xaxis.set_minor_formatter("{x:g}")
    left.set_xlabel(f"time relative to {REFERENCE}")
    left.set_ylabel("Spearman with the absolute oracle, all layers")
    left.grid(True, which="both", alpha=0.2)
    right.set_xlabel("MACs kept, %")
    right.set_ylabel("accuracy without fine-tuning, %")
    right.invert_xaxis()
    right.grid(True, alpha=0.2)
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=8)
