"""How well does each criterion rank channels? Spearman's correlation with the oracle, the paper's Table 1."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from keras_taylor.criteria import Criterion, criterion_for, registered
from keras_taylor.criteria._base import FROM_DATA
from keras_taylor.criteria.blend import Blend
from keras_taylor.criteria.obd import OBD
from keras_taylor.criteria.second_order import Taylor2
from keras_taylor.criteria.taylor import Taylor
from keras_taylor.criteria.taylor_logits import TaylorLogits
from keras_taylor.errors import BadInput
from keras_taylor.studies._lab import Lab
from keras_taylor.studies._statistics import bootstrap, clear, mean_interval, shown, spearman
from keras_taylor.studies._study import Study, StudyTable

# As they are before any normalisation: the study normalises.
CRITERIA: dict[str, Criterion] = {
    "random": criterion_for("random"),
    **{
        name: registered()[name](normalize=None)  # type: ignore[call-arg]
        for name in ("magnitude", "l1", "l2", "fpgm", "bn_scale", "activation", "activation_std", "apoz", "mutual_information")
    },
    "lamp": criterion_for("lamp"),
    "taylor (Eq. 8)": Taylor(normalize=None),
    "taylor, aggregate=nvlabs": Taylor(aggregate="nvlabs"),
    "taylor, aggregate=jacobgil": Taylor(normalize=None, aggregate="jacobgil"),
    "taylor_gate (without 1/M)": Taylor("sum", None),
    "taylor_gate, tied=absolute": Taylor("sum", None, tied="absolute"),
    "taylor_2019": criterion_for("taylor_2019"),
    "taylor2 (Fisher)": Taylor2(),
    "taylor2 (Fisher), absolute=mean": Taylor2(absolute="mean"),
    "taylor2 (Gauss-Newton)": Taylor2("gauss_newton"),
    "taylor2 (Gauss-Newton), absolute=mean": Taylor2("gauss_newton", "mean"),
    "taylor_logits": TaylorLogits(),
    "taylor_logits, absolute=mean": TaylorLogits("mean"),
    "obd (Fisher)": OBD(),
    "obd (Gauss-Newton)": OBD("gauss_newton"),
    "obd (Hutchinson)": OBD("hutchinson"),
    "empirical_fisher": OBD("empirical_fisher"),
    "blend, weight=1": Blend(1.0),
}
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


def correlation(
    model: Any,
    data: Any,
    *,
    run_dir: str | Path,
    criteria: Mapping[str, str | Criterion] | None = None,
    examples: int = 1024,
    seeds: Sequence[int] = (0, 1, 2),
    batch_size: int = 64,
    verbose: int = 1,
) -> Study:
    """Rank correlation of every criterion with the oracle, on the same examples and on others, and how reliable it is.

    For each seed a sample of the training data is drawn; on it every criterion scores all channels in one pass, and the oracle
    silences every channel. Reported are means over the seeds with 95 % intervals (Student's t): Spearman within each layer
    group of more than two channels, averaged (per layer), over all channels of the net, and the same after dividing every
    group by its l2 norm; the best of the last two against the oracles of the other seeds, most of whose examples are others;
    and the split-half reliability: Spearman, per layer, between scores from one half of the sample and from the other.

    Args:
        model: a compiled classifier.
        data: labelled training data as `fit` takes them.
        run_dir: a folder for studies of this model and these data. What is there is not measured again.
        criteria: by label, or their names; by default all of this package, not normalised.
        examples: size of a sample.
        seeds: one sample each.
        batch_size: of scoring.
        verbose: 1 shows what is measured.

    Returns:
        A `kt.studies.Study`; `.save(folder)` writes JSON, Markdown and a figure.

    Raises:
        BadInput: what cannot work, or a folder of another model or other data; before any work.
        NonFiniteScores: a statistic or the loss is not finite.

    Example:
        >>> import keras, numpy as np, tempfile, keras_taylor as kt
        >>> model = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Conv2D(8, 3, activation="relu"),
        ...                           keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(2)])
        >>> model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        >>> x, y = np.random.default_rng(0).random((64, 8, 8, 1)).astype("float32"), np.arange(64) % 2
        >>> study = kt.studies.correlation(model, (x, y), run_dir=tempfile.mkdtemp(), examples=32, seeds=(0, 1), verbose=0)
        >>> study.name
        'correlation'

    References:
        Molchanov et al. 2017, section 3.1, Table 1 and Eq. 10.
    """
    if criteria is not None and not isinstance(criteria, Mapping):
        raise BadInput(f"criteria must be a dict of criteria by label. Received: {criteria!r}. Write {{'l1': 'l1'}}.")
    chosen = {label: criterion_for(one) for label, one in (CRITERIA if criteria is None else criteria).items()}
    if not chosen:
        raise BadInput("criteria must name at least one criterion. Received: none.")
    lab = Lab(model, data, run_dir, examples=examples, seeds=seeds, batch_size=batch_size, verbose=verbose)
    seeds = lab.seeds
    scores = {seed: lab.scores(chosen, seed) for seed in seeds}
    fed = {label: one for label, one in chosen.items() if one.needs & FROM_DATA}
    halves = {seed: [lab.scores(fed, seed, half) for half in (0, 1)] for seed in seeds}
    truth = {seed: np.abs(lab.oracle(seed)) for seed in seeds}
    labels = [label for label in chosen if all(label in scores[seed] for seed in seeds)]
    if not labels:
        raise BadInput(f"criteria must have something to look at in the model. Received: {', '.join(chosen)}, which have not.")
    values = {label: _values(lab, label, scores, halves, truth) for label in labels}
    ceiling = {
        kind: [_of(lab, kind)(truth[a], truth[b]) for a in seeds for b in seeds if a != b]
        for kind in ("per layer", "all layers")
    }
    found: dict[str, Any] = {"correlations": values, "oracle with oracles of other examples": ceiling}
    tables = [_main_table(values, ceiling, seeds, lab.overlap()), _paper_table(values)]
    answer = [_best(values), *_normalisation(values)]
    if {GATE, ABSOLUTE} <= set(labels) and len(lab.ranks.tied) > 2:
        found["tied"] = tied = _tied(lab, scores, truth)
        tables.append(_tied_table(tied, len(lab.ranks.tied)))
        answer.append(_tied_answer(tied))
    skipped = [label for label in chosen if label not in labels]
    settings = {**lab.settings, "seeds": seeds, "channels": len(lab.ranks.free), "layer groups": len(lab.ranks.layers)}
    if skipped:
        settings["left out, nothing to look at"] = ", ".join(skipped)
    title = f"Criteria against the oracle: {model.name}"
    return Study("correlation", title, settings, found, tables, answer, lambda figure: _draw(figure, values, title))


def _of(lab: Lab, kind: str) -> Any:
    return {"per layer": lab.ranks.per_layer, "all layers": lab.ranks.raw, "all layers, l2": lab.ranks.l2}[kind]


def _values(lab: Lab, label: str, scores: Any, halves: Any, truth: Any) -> dict[str, list[float]]:
    """Of one criterion, a number per seed; on other examples, one per pair of seeds."""
    seeds = list(scores)
    made: dict[str, list[float]] = {
        kind: [_of(lab, kind)(scores[seed][label], truth[seed]) for seed in seeds] for kind in KINDS
    }
    best = max(KINDS[1:], key=lambda kind: float(np.mean(made[kind])))
    made["other examples"] = [_of(lab, best)(scores[a][label], truth[b]) for a in seeds for b in seeds if a != b]
    made["split-half"] = [
        lab.ranks.per_layer(*(half[label] for half in halves[seed])) for seed in seeds if label in halves[seed][0]
    ]
    return made


def _main_table(values: Mapping[str, Any], ceiling: Mapping[str, Any], seeds: Sequence[int], overlap: str) -> StudyTable:
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
    caption = (
        f"Spearman correlation with the absolute oracle; means over {len(seeds)} samples, with 95 % intervals (Student's t). "
        f"Other examples: the better of both columns before, against the oracles of the other samples; {overlap}. "
        "Split-half: per layer, between the scores from both halves of a sample, where scores come from data."
    )
    return StudyTable(caption, ["criterion", *KINDS, "other examples", "split-half"], rows)


def _paper_table(values: Mapping[str, Any]) -> StudyTable:
    rows = []
    for label, published in PAPER.items():
        if label in values:
            here = [f"{np.mean(values[label][kind]):.2f}" for kind in KINDS]
            rows.append([f"`{label}`", *(f"{one:.2f}" for one in published), *here])
    header = ["criterion", *(f"{kind}: {where}" for where in ("paper", "here") for kind in KINDS)]
    return StudyTable("Beside VGG-16 on Birds-200 in the paper (Table 1 of the submitted version), another net.", header, rows)


def _best(values: Mapping[str, Any]) -> str:
    label, kind = max(
        ((label, kind) for label in values for kind in KINDS[1:]), key=lambda pair: np.mean(values[pair[0]][pair[1]])
    )
    return f"Best over all layers: `{label}` with {shown(values[label][kind])} ({kind})."


def _normalisation(values: Mapping[str, Any]) -> list[str]:
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


def _tied(lab: Lab, scores: Any, truth: Any) -> dict[str, Any]:
    """Signed and absolute sums of members, over tied channels and over all, with intervals over the channels."""
    made: dict[str, Any] = {}
    for where, channels in (("tied channels", lab.ranks.tied), ("all channels", lab.ranks.free)):

        def difference(rows: Any, channels: Any = channels) -> float:
            few = channels[rows]
            pairs = [
                spearman(found[GATE][few], truth[seed][few]) - spearman(found[ABSOLUTE][few], truth[seed][few])
                for seed, found in scores.items()
            ]
            return float(np.mean(pairs))

        made[where] = {
            label: [spearman(found[label][channels], truth[seed][channels]) for seed, found in scores.items()]
            for label in (GATE, ABSOLUTE)
        }
        made[where]["difference"] = difference(np.arange(len(channels)))
        made[where]["interval"] = bootstrap(difference, len(channels))
    return made


def _tied_table(tied: Mapping[str, Any], count: int) -> StudyTable:
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


def _tied_answer(tied: Mapping[str, Any]) -> str:
    found = tied["tied channels"]
    low, high = found["interval"]
    verdict = "ranks closer to the oracle than" if low > 0 else "ranks worse than" if high < 0 else "cannot be told apart from"
    return (
        f"Tied channels: the signed sum per example {verdict} the sum of absolute values (difference "
        f"{found['difference']:+.3f}, 95 % interval {low:+.3f} to {high:+.3f})."
    )


def _draw(figure: Any, values: Mapping[str, Any], title: str) -> None:
    axes = figure.subplots()
    order = sorted(values, key=lambda label: max(np.mean(values[label][kind]) for kind in KINDS[1:]))
    for kind, marker, shift in zip(KINDS, ("o", "s", "D"), (-0.2, 0, 0.2), strict=True):
        pairs = [mean_interval(values[label][kind]) for label in order]
        means, halves = zip(*pairs, strict=True)
        axes.errorbar(means, np.arange(len(order)) + shift, xerr=np.nan_to_num(halves), fmt=marker, ms=4, capsize=2, label=kind)
    axes.set_yticks(range(len(order)), order, fontsize=8)
    axes.axvline(0, color="grey", lw=0.5)
    axes.set_xlim(-0.5, 1.02)
    axes.set_xlabel("Spearman correlation with the absolute oracle")
    axes.set_title(title)
    axes.grid(True, axis="x", alpha=0.3)
    axes.legend(loc="lower left")
