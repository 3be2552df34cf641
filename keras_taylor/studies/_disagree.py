"""Which disagreements of Taylor with activation pruning matter? Quadrants of activation and gradient, and Shapley values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from math import factorial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from keras_taylor._plan import totals
from keras_taylor.criteria import Activation, Criterion, Record, Taylor
from keras_taylor.criteria._base import Averaged
from keras_taylor.errors import BadInput
from keras_taylor.studies._lab import Lab, Mask, check_shares
from keras_taylor.studies._statistics import Array, clear, mean_interval, shown, spearman
from keras_taylor.studies._study import Study, StudyTable


class GradientSize(Averaged):
    """Mean over examples and positions of the absolute gradient of the loss with respect to the activation."""

    needs = frozenset({"gradient"})

    def each(self, record: Record) -> Array:
        """The mean of each example."""
        found: Array = record.gradient / record.positions
        return found


class Alignment(Averaged):
    """Mean over examples of `|z . g| / (|z| |g|)`, with activations z and gradients g; 0 where either is zero.

    What is left of Taylor without the sizes of both: log T = log |z| + log |g| + log alignment, for each example.
    """

    needs = frozenset({"contribution", "activation_square", "gradient_square"})

    def each(self, record: Record) -> Array:
        """The absolute cosine of each example."""
        size = np.sqrt(record.activation_square * record.gradient_square)
        found = np.divide(np.abs(record.contribution), size, out=np.zeros_like(size), where=size > 0)
        return np.minimum(found, 1.0)  # rounding, where gradients are tiny


CRITERIA: dict[str, Criterion] = {
    "activation": Activation(normalize=None),
    "gradient": GradientSize(),
    "Taylor": Taylor(normalize=None),
    "alignment": Alignment(),
}
QUADRANTS = ("high a, high g", "high a, low g", "low a, high g", "low a, low g")
PLAYERS = ("high a, low g", "low a, high g", "rest")
COALITIONS = [frozenset(chosen) for size in range(len(PLAYERS) + 1) for chosen in combinations(PLAYERS, size)]
MEASURES = ("accuracy", "loss saved")


def disagree(
    model: Any,
    data: Any,
    *,
    validation_data: Any,
    run_dir: str | Path,
    shares: Sequence[float] = (0.05, 0.1, 0.2),
    examples: int = 1024,
    seeds: Sequence[int] = (0, 1, 2),
    batch_size: int = 64,
    verbose: int = 1,
) -> Study:
    """Where Taylor (Eq. 8) and mean activation disagree about channels, who is right, and which disagreements make the gap.

    For each seed a sample of the training data is drawn; on it all channels are scored, and silenced one at a time by the
    oracle. Each layer group falls into quadrants by the medians of activation (a) and of the size of the gradient (g). Every
    layer group then loses the same share of its free channels, by rank of activation or of Taylor. For the gap between the
    two, Taylor's ranks replace those of activation in one class of channels after the other, in all eight combinations of
    "high a, low g", "low a, high g" and the rest; a class gets its Shapley value. All these nets have as many channels in each
    layer, and are silenced, not fine-tuned.

    Args:
        model: a compiled classifier.
        data: labelled training data as `fit` takes them.
        validation_data: labelled data on which the nets are compared.
        run_dir: a folder for studies of this model and these data. What is there is not measured again.
        shares: of the free channels of each layer group that go.
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
        >>> study = kt.studies.disagree(model, (x, y), validation_data=(x, y), run_dir=tempfile.mkdtemp(), examples=32,
        ...                             seeds=(0, 1), shares=(0.2,), verbose=0)
        >>> [row[0] for row in study.tables[0].rows]
        ['high a, high g', 'high a, low g', 'low a, high g', 'low a, low g']

    References:
        Molchanov et al. 2017, section 2.2. Shapley 1953, "A value for n-person games".
    """
    shares = check_shares(shares)
    lab = Lab(model, data, run_dir, examples=examples, seeds=seeds, batch_size=batch_size, verbose=verbose)
    seeds = lab.seeds
    x, y = lab.validation(validation_data)
    judge = lab.judge(x, y, say=False)
    layers = _layers(lab)
    for share in shares:
        if not any(_count(layer, share) for layer in layers):
            widest = max(map(len, layers))
            raise BadInput(
                f"shares must remove at least one channel of a layer group. Received: {share!r}, and the widest group has "
                f"{widest} channels that may go. Pass at least {1 / widest:.2f}."
            )
    samples = {seed: _Sample(lab, layers, seed) for seed in seeds}
    quadrants = {
        name: _of_quadrant(name, list(samples.values()), shares) for name in QUADRANTS
    }  # before the coalitions, which take longest
    progress = lab.progress("coalitions on the validation data", len(shares) * len(seeds))
    full = judge(np.ones(lab.graph.channels, bool))
    gaps: dict[str, Any] = {}
    for share in shares:
        found: dict[str, Any] = {_label(one): {"accuracy": [], "loss": []} for one in COALITIONS}
        for sample in samples.values():
            masks = {one: sample.mask(share, one) for one in COALITIONS}
            for one, mask in masks.items():
                for measure, value in judge(mask).items():
                    found[_label(one)][measure].append(value)
            progress.add(1)
        macs = totals(lab.graph, masks[frozenset()])["macs"] / lab.graph.macs
        gaps[f"{share:g}"] = {"MACs": macs, "coalitions": found, **_attributed(found)}
    pooled = _pooled(gaps)
    values = {
        "quadrants": quadrants,
        "shares": gaps,
        "mean of the shares": pooled,
        "unpruned": full,
    }
    tables = [
        _disagreements(quadrants, shares, len(seeds)),
        _ranks(quadrants),
        _gaps(gaps, full, len(x), seeds),
        _shapley_table({**gaps, "mean": pooled}),
    ]
    settings = {**lab.settings, "shares": shares, "seeds": seeds, "validation examples": len(x)}
    settings |= {"channels": sum(len(layer) for layer in layers), "layer groups": len(layers)}
    title = f"Disagreements of Taylor with activation pruning: {model.name}"
    first = samples[seeds[0]]
    return Study(
        "disagree", title, settings, values, tables, _answer(gaps, pooled), lambda figure: _draw(figure, gaps, first, title)
    )


def percentiles(values: Array, layers: Sequence[NDArray[np.int64]]) -> Array:
    """Ranks within each layer, between 0 and 1; equal values share their mean rank. NaN elsewhere."""
    found = np.full(len(values), np.nan)
    for layer in layers:
        found[layer] = (rankdata(values[layer]) - 0.5) / len(layer)
    return found


def shapley(worth: Mapping[frozenset[str], float], players: Sequence[str] = PLAYERS) -> dict[str, float]:
    """Each player's mean contribution over all orders in which players join; `worth` is of every coalition."""
    found = dict.fromkeys(players, 0.0)
    for player in players:
        for coalition in worth:
            if player not in coalition:
                before, after = len(coalition), len(players) - len(coalition) - 1
                weight = factorial(before) * factorial(after) / factorial(len(players))
                found[player] += weight * (worth[coalition | {player}] - worth[coalition])
    return found


class _Sample:
    """What one sample says about the channels.

    Attributes:
        ranks: percentiles by each criterion, and by the absolute oracle.
        oracle: absolute.
        quadrant: of each channel, by name; empty for those that are not decided about.
    """

    def __init__(self, lab: Lab, layers: Sequence[NDArray[np.int64]], seed: int) -> None:
        self.layers = layers
        scores = lab.scores(CRITERIA, seed)
        self.oracle = np.abs(lab.oracle(seed))
        self.ranks = {name: percentiles(values, layers) for name, values in (scores | {"oracle": self.oracle}).items()}
        self.quadrant = np.full(lab.graph.channels, "", dtype="U20")
        for layer in layers:
            a, g = (scores[name][layer] for name in ("activation", "gradient"))
            high_a, high_g = a > np.median(a), g > np.median(g)
            for name, chosen in zip(
                QUADRANTS, (high_a & high_g, high_a & ~high_g, ~high_a & high_g, ~high_a & ~high_g), strict=True
            ):
                self.quadrant[layer[chosen]] = name

    def removed(self, share: float, rank: Array) -> Mask:
        """The channels that go: the lowest of each layer."""
        found = np.zeros(len(rank), bool)
        for layer in self.layers:
            found[layer[np.argsort(rank[layer], kind="stable")[: _count(layer, share)]]] = True
        return found

    def mask(self, share: float, coalition: frozenset[str]) -> Mask:
        """What stays when Taylor ranks the channels of a coalition, and activation the others."""
        player = np.where(np.isin(self.quadrant, PLAYERS), self.quadrant, "rest")
        return ~self.removed(share, np.where(np.isin(player, list(coalition)), self.ranks["Taylor"], self.ranks["activation"]))

    def disagreements(self, share: float) -> tuple[Mask, Mask]:
        """The channels that activation alone removes, and those that Taylor alone removes."""
        a, t = (self.removed(share, self.ranks[name]) for name in ("activation", "Taylor"))
        return a & ~t, t & ~a


def _layers(lab: Lab) -> list[NDArray[np.int64]]:
    """The free channels of each layer group that has at least two, so that there is something to decide."""
    free = [np.intersect1d(channels, lab.ranks.free) for channels in lab.ranks.groups]
    found = [channels for channels in free if len(channels) > 1]
    if not found:
        raise BadInput(
            "The model must have a layer group with at least two channels that may go. "
            f"Received: {lab.graph.name!r}, which has none."
        )
    return found


def _count(layer: NDArray[np.int64], share: float) -> int:
    return min(round(share * len(layer)), len(layer) - 1)


def _label(coalition: frozenset[str]) -> str:
    return " + ".join(player for player in PLAYERS if player in coalition) or "none"


def _of_quadrant(name: str, samples: Sequence[_Sample], shares: Sequence[float]) -> dict[str, Any]:
    """A number per seed, or None where a quadrant has no such channel."""
    made: dict[str, Any] = {"channels": [int((one.quadrant == name).sum()) for one in samples]}
    apart = [[one.disagreements(share) for one in samples] for share in shares]
    made["disagreements"] = {
        f"{share:g}": [int(((a | t) & (one.quadrant == name)).sum()) for (a, t), one in zip(row, samples, strict=True)]
        for share, row in zip(shares, apart, strict=True)
    }
    made["all disagreements"] = {
        f"{share:g}": [int((a | t).sum()) for a, t in row] for share, row in zip(shares, apart, strict=True)
    }
    for side, criterion in enumerate(("activation", "Taylor")):
        made[f"oracle, {criterion} alone removes"] = [
            _mean(np.concatenate([one.oracle[row[number][side] & (one.quadrant == name)] for row in apart]))
            for number, one in enumerate(samples)
        ]
    for criterion in ("Taylor", "activation", "alignment"):
        made[f"Spearman, {criterion}"] = [
            spearman(one.ranks[criterion][one.quadrant == name], one.ranks["oracle"][one.quadrant == name])
            if (one.quadrant == name).sum() > 2
            else None
            for one in samples
        ]
    for criterion in ("Taylor", "activation"):
        made[f"regret, {criterion}"] = [
            _mean(np.abs(one.ranks[criterion] - one.ranks["oracle"])[one.quadrant == name]) for one in samples
        ]
    return made


def _mean(values: Array) -> float | None:
    return float(values.mean()) if len(values) else None


def _attributed(coalitions: Mapping[str, Any]) -> dict[str, Any]:
    """The gap, and the Shapley value of each player, for each seed."""
    worth = {
        "accuracy": {one: np.array(coalitions[_label(one)]["accuracy"]) for one in COALITIONS},
        "loss saved": {one: -np.array(coalitions[_label(one)]["loss"]) for one in COALITIONS},
    }
    made: dict[str, Any] = {"gap": {}, "Shapley values": {player: {} for player in PLAYERS}}
    for measure, of in worth.items():
        made["gap"][measure] = (of[frozenset(PLAYERS)] - of[frozenset()]).tolist()
        single = [shapley({one: float(found[seed]) for one, found in of.items()}) for seed in range(len(of[frozenset()]))]
        for player in PLAYERS:
            made["Shapley values"][player][measure] = [one[player] for one in single]
    return made


def _pooled(gaps: Mapping[str, Any]) -> dict[str, Any]:
    """The same, as the mean over the shares, for each seed."""

    def mean(lists: Sequence[Sequence[float]]) -> list[float]:
        return [float(one) for one in np.mean(lists, axis=0)]

    return {
        "gap": {measure: mean([one["gap"][measure] for one in gaps.values()]) for measure in MEASURES},
        "Shapley values": {
            player: {measure: mean([one["Shapley values"][player][measure] for one in gaps.values()]) for measure in MEASURES}
            for player in PLAYERS
        },
    }


def _disagreements(quadrants: Mapping[str, Any], shares: Sequence[float], seeds: int) -> StudyTable:
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


def _ranks(quadrants: Mapping[str, Any]) -> StudyTable:
    columns = [*(f"Spearman, {one}" for one in ("Taylor", "activation", "alignment")), "regret, Taylor", "regret, activation"]
    rows = [[quadrant, *(_shown(found[column], 2) for column in columns)] for quadrant, found in quadrants.items()]
    caption = (
        "Within-layer percentile ranks against those by the absolute oracle, over the channels of a quadrant: Spearman's "
        "correlation, and the mean distance (rank regret; 0 is the oracle's order, over whole layers chance gives 1/3). "
        "Alignment is the absolute cosine of activation and gradient."
    )
    return StudyTable(caption, ["quadrant", *columns], rows)


def _gaps(gaps: Mapping[str, Any], full: Mapping[str, float], count: int, seeds: Sequence[int]) -> StudyTable:
    rows = []
    for share, found in gaps.items():
        ends = [found["coalitions"][_label(one)] for one in (COALITIONS[0], COALITIONS[-1])]
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


def _shapley_table(gaps: Mapping[str, Any]) -> StudyTable:
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


def _answer(gaps: Mapping[str, Any], pooled: Mapping[str, Any]) -> list[str]:
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


def _draw(figure: Any, gaps: Mapping[str, Any], sample: _Sample, title: str) -> None:
    figure.set_size_inches(11, 4.8)
    figure.suptitle(title)
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
    drawn = sample.quadrant != ""
    a, g, truth = (sample.ranks[name][drawn] for name in ("activation", "gradient", "oracle"))
    points = right.scatter(a, g, c=truth, cmap="viridis", s=12)
    right.axhline(0.5, color="grey", lw=0.8)
    right.axvline(0.5, color="grey", lw=0.8)
    right.set_xlabel("rank of the activation within the layer")
    right.set_ylabel("rank of the size of the gradient within the layer")
    right.set_title("Channels of the first sample", fontsize=10)
    figure.colorbar(points, ax=right, label="rank of the absolute oracle within the layer")
