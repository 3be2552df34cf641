"""Study `blend` in tables, words and a figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from keras_taylor.studies._statistics import clear, mean_interval, shown
from keras_taylor.studies._study_table import StudyTable

TITLE = "Taylor blended with activation"
SIZE = (11, 5.5)
INF = float("inf")

COLUMNS = {
    "chosen": "chosen",
    "Taylor": "lambda 0 (Taylor)",
    "activation": "infinity (activation)",
    "taylor_gate": "taylor_gate, no lambda",
}


def tables(settings: Mapping[str, Any], values: Mapping[str, Any]) -> list[StudyTable]:
    """The accuracies on the validation examples, and for each share what was held out."""
    made, count = values["shares"], settings["validation examples"]
    first = summary_table(made, values["chosen less lambda=0"], values["unpruned"], count)
    folds, seeds = settings["folds"], len(settings["seeds"])
    return [first, *(share_table(share, found, folds, seeds) for share, found in made.items())]


def answer(settings: Mapping[str, Any], values: Mapping[str, Any]) -> list[str]:
    """Whether the blend is better than Taylor, and whether it is better than `taylor_gate`."""
    return [*verdict(values["shares"], values["chosen less lambda=0"]), beside_the_gate(values["shares"])]


def names_of(weights: Sequence[float]) -> list[str]:
    """The weights as they are named in tables and files."""
    return [f"{weight:g}" for weight in weights]


def _optimism(found: Mapping[str, Any]) -> list[float]:
    pairs = zip(found["held-out accuracy of the chosen"], found["test"], strict=True)
    return [held - one["chosen"]["accuracy"] for held, one in pairs]


def _points(values: Sequence[float], digits: int = 1) -> str:
    return shown([100 * one for one in values], digits)


def summary_table(made: Mapping[str, Any], differences: Mapping[str, Any], full: Mapping[str, float], count: int) -> StudyTable:
    """Accuracy at every share, of the chosen blend and of what stands beside it."""
    rows = []
    for share, found in made.items():
        accuracies = [[one[name]["accuracy"] for one in found["test"]] for name in COLUMNS]
        rows.append(
            [
                f"{100 * float(share):g} %",
                ", ".join(found["chosen"]),
                *(_points(one) for one in accuracies),
                _points(differences[share]["accuracy"], 2),
                shown(differences[share]["loss"], 3),
                _points(_optimism(found)),
            ]
        )
    mean = differences["mean"]
    rows.append(["mean", "", *[""] * len(COLUMNS), _points(mean["accuracy"], 2), shown(mean["loss"], 3), ""])
    seeds = len(mean["accuracy"])
    caption = (
        f"Accuracy in per cent on {count} validation examples, which the choice has not seen, of the net with the dropped "
        f"channels silenced; unpruned it has {100 * full['accuracy']:.1f} %, with a loss of {full['loss']:.3f}. Lambda is "
        f"chosen by cross-validation, once for each of {seeds} samples; the difference is chosen less lambda 0. Means over the "
        "samples with 95 % intervals (Student's t); net and validation examples are the same for all. Optimism: accuracy of "
        "the chosen lambda on the held-out folds less that on the validation examples; the net was trained on the images of "
        "the folds, held out or not, so it is not that of the choice alone."
    )
    header = ["MACs", "chosen lambda", *COLUMNS.values(), "difference, points"]
    return StudyTable(caption, [*header, "difference in loss", "optimism, points"], rows)


def share_table(share: str, found: Mapping[str, Any], folds: int, seeds: int) -> StudyTable:
    """Loss and accuracy on the held-out folds, for every lambda."""
    losses, accuracies = (np.array(found[f"held-out {name}"]) for name in ("loss", "accuracy"))
    rows = []
    for column, name in enumerate(found["weights"]):
        loss, accuracy = losses[:, column], 100 * accuracies[:, column]
        rows.append(
            [
                name,
                f"{loss.mean():.4f}",
                f"{loss.std(axis=-1, ddof=1).mean():.4f}",
                f"{accuracy.mean():.1f}",
                f"{accuracy.std(axis=-1, ddof=1).mean():.1f}",
                str(found["chosen"].count(name) or ""),
            ]
        )
    caption = (
        f"Held out, at {100 * float(share):g} % of the MACs: mean over {folds} folds and {seeds} samples, standard deviation "
        "over the folds of a sample (mean over the samples), and how many samples choose this lambda."
    )
    return StudyTable(caption, ["lambda", "loss", "sd of the loss", "accuracy, %", "sd of the accuracy", "chosen by"], rows)


def verdict(made: Mapping[str, Any], differences: Mapping[str, Any]) -> list[str]:
    """Gain, loss, or null, by the paired differences in accuracy."""
    mean = differences["mean"]
    shares = ", ".join(f"{100 * float(share):g}" for share in made)
    found = [
        f"Blend with a lambda chosen by cross-validation, less Taylor alone, mean over {shares} % of the MACs: "
        f"{_points(mean['accuracy'], 2)} points of accuracy and {shown(mean['loss'], 3)} of loss."
    ]
    if all(one == "0" for each in made.values() for one in each["chosen"]):
        return [*found, "Cross-validation chose lambda = 0 every time, which is Taylor alone: activations add nothing here."]
    if len(mean["accuracy"]) < 2:
        return [*found, "One sample gives no interval: whether the blend is better cannot be said; pass several seeds."]
    kinds = {True: "a gain", False: "a loss"}
    parts = [
        f"{100 * float(share):g} % of the MACs {kinds[np.mean(differences[share]['accuracy']) > 0]}"
        for share in made
        if clear(differences[share]["accuracy"])
    ]
    single = (
        f"Share by share: at {', at '.join(parts)}; elsewhere nothing excludes zero."
        if parts
        else "At no single share do they exclude zero."
    )
    if not clear(mean["accuracy"]):
        words = (
            "In accuracy a null result: activations cannot be told to add anything to Taylor; a gain of up to about "
            f"{100 * sum(mean_interval(mean['accuracy'])):.1f} points would go unseen here."
        )
    elif np.mean(mean["accuracy"]) > 0:
        words = "A gain in accuracy: here the blend is worth choosing its lambda by cross-validation."
    else:
        words = (
            "A loss in accuracy: lambda suits the folds and not the validation examples; a user does better with Taylor alone."
        )
    if clear(mean["loss"]):
        words += f" In loss it is {'a gain' if np.mean(mean['loss']) < 0 else 'a loss'}."
    return [*found, words, single]


def beside_the_gate(made: Mapping[str, Any]) -> str:
    """What the other way to mend Eq. 8 brings, without a lambda."""
    each = [[one["taylor_gate"]["accuracy"] - one["chosen"]["accuracy"] for one in found["test"]] for found in made.values()]
    mean = np.mean(each, axis=0).tolist()
    words = "is better" if clear(mean) and np.mean(mean) > 0 else "is worse" if clear(mean) else "cannot be told apart"
    return (
        "Beside it stands `taylor_gate`, Taylor without 1/M and without normalisation, which has no lambda: less the chosen "
        f"blend it is {_points(mean, 2)} points; it {words}."
    )


def draw(figure: Any, values: Mapping[str, Any]) -> None:
    """The held-out loss for every lambda, and the accuracy of what was chosen."""
    made = values["shares"]
    left, right = figure.subfigures(1, 2)
    panels = left.subplots(len(made), 1, sharex=True, squeeze=False)[:, 0]
    for number, (axes, (share, found)) in enumerate(zip(panels, made.items(), strict=True)):
        names = found["weights"]
        losses = np.array(found["held-out loss"])
        means, spread = losses.mean(axis=(0, 2)), losses.std(axis=-1, ddof=1).mean(axis=0)
        axes.errorbar(range(len(names)), means, spread, marker="o", ms=4, capsize=2, color=f"C{number}")
        for name in set(found["chosen"]):
            axes.plot(names.index(name), means[names.index(name)], "o", ms=11, mfc="none", color="black")
        axes.set_title(f"{100 * float(share):g} % of the MACs", fontsize=10)
        axes.set_ylim(bottom=0)
        axes.grid(True, axis="y", alpha=0.3)
        axes.set_xticks(range(len(names)), ["∞" if name == "inf" else name for name in names])
    panels[-1].set_xlabel("lambda (circled: chosen by a sample)")
    left.supylabel("held-out loss, with the standard deviation over folds", fontsize=10)
    axes = right.subplots()
    for number, ((name, label), marker) in enumerate(zip(COLUMNS.items(), ("o", "s", "D", "^"), strict=True)):
        each = [[100 * one[name]["accuracy"] for one in found["test"]] for found in made.values()]
        means, halves = zip(*map(mean_interval, each), strict=True)
        at, colour = np.arange(len(made)) + 0.2 * (number - 1.5), f"C{number + 3}"
        axes.errorbar(at, means, np.nan_to_num(halves), fmt=marker, ms=6, capsize=3, color=colour, label=label)
        axes.plot(np.repeat(at + 0.06, len(each[0])), np.ravel(each), ".", ms=4, color=colour)
    low, high = axes.get_ylim()
    axes.set_ylim(max(low, 0), min(high, 100))
    axes.set_xticks(range(len(made)), [f"{100 * float(share):g} %" for share in made])
    axes.set_xlabel("MACs")
    axes.set_ylabel("accuracy on the validation examples, %")
    axes.set_title("Means with 95 % intervals; dots: each sample", fontsize=10)
    axes.grid(True, axis="y", alpha=0.3)
    axes.legend(fontsize=8)
