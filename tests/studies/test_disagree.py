"""`kt.studies.disagree`: quadrants, disagreements, and the Shapley values of the gap."""

import json

import keras
import numpy as np
import pytest

import keras_taylor as kt
from keras_taylor.criteria import MeanOverExamples
from keras_taylor.errors import BadInput
from keras_taylor.studies import _lab, _quadrants, _shapley
from keras_taylor.studies._disagree_shown import carriers, shapley_table
from keras_taylor.studies._masked import Masked
from keras_taylor.studies._statistics import shown
from tests import nets

X, Y = nets.images(72, classes=3)
DATA, VALIDATION = (X[:48], Y[:48]), (X[48:], Y[48:])
SHARES, SEEDS = (0.25, 0.5), (0, 1)


def net():
    return nets.compiled(nets.residual())


def studied(folder, model=None, **options):
    options = {"validation_data": VALIDATION, "shares": SHARES, "seeds": SEEDS, "examples": 24, "verbose": 0, **options}
    return kt.studies.disagree(model or net(), options.pop("data", DATA), run_dir=folder, **options)


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    keras.utils.set_random_seed(0)
    folder = tmp_path_factory.mktemp("disagree")
    model = net()
    study = studied(folder, model)
    lab = _lab.Lab(model, DATA, folder, examples=24, seeds=(0, 1), batch_size=64, verbose=0)
    layers = _quadrants.layers_of(lab)
    samples = [_quadrants.Sample(lab, layers, seed) for seed in SEEDS]
    return folder, study, lab, samples


def test_shapley_values_by_hand():
    # Two players who are worth 1 and 2 alone and 5 together share the surplus of 2.
    worth = {frozenset(): 0.0, frozenset("a"): 1.0, frozenset("b"): 2.0, frozenset("ab"): 5.0}
    assert _shapley.shapley(worth, "ab") == {"a": 2.0, "b": 3.0}
    # Three: "c" adds nothing to any coalition, "a" only with "b".
    worth = {frozenset(one): float({"a", "b"} <= set(one)) for one in ("", "a", "b", "c", "ab", "ac", "bc", "abc")}
    assert _shapley.shapley(worth, "abc") == pytest.approx({"a": 0.5, "b": 0.5, "c": 0.0})


def test_percentiles_by_hand():
    found = _quadrants.percentiles(np.array([5.0, 1.0, 3.0, 3.0, 9.0]), [np.array([0, 1, 2, 3])])
    np.testing.assert_allclose(found[:4], [7 / 8, 1 / 8, 4 / 8, 4 / 8])
    assert np.isnan(found[4])


def test_alignment_and_gradient_by_hand():
    """A dense layer has one position, where the cosine of two numbers is 1, or 0 where one is zero."""
    model = keras.Sequential(
        [
            keras.Input((2,)),
            keras.layers.Dense(3, activation="relu", use_bias=False, name="hidden"),
            keras.layers.Dense(1, use_bias=False, name="out"),
        ]
    )
    model.get_layer("hidden").set_weights([np.array([[1.0, -1.0, 2.0], [0.0, 0.0, 0.0]])])
    model.get_layer("out").set_weights([np.array([[3.0], [5.0], [-7.0]])])
    model.compile("sgd", "mse")
    x, y = np.array([[1.0, 0.0], [2.0, 0.0]]), np.array([[-10.0], [-20.0]])  # outputs -11 and -22: errors -1 and -2
    criteria = {"gradient": _quadrants.GradientSize(), "alignment": _quadrants.Alignment()}
    gradient, alignment = kt.score_all(model, x, y, criteria=criteria).values()
    hidden = nets.producer_channels(gradient.graph, "hidden")
    np.testing.assert_allclose(gradient.values[hidden], 3.0 * np.array([3.0, 5.0, 7.0]))  # mean of |2 * error * weight|
    np.testing.assert_allclose(alignment.values[hidden], [1.0, 0.0, 1.0], atol=1e-6)


def test_alignment_is_what_taylor_is_without_both_sizes(first):
    _, _, lab, _ = first
    rows = lab.sample(0)
    x, y = lab.x[rows[:1]], lab.y[rows[:1]]  # of one example, so that no mean stands between

    class Sizes(MeanOverExamples):
        needs = frozenset({"activation_square", "gradient_square"})

        def each(self, record):
            return np.sqrt(record.activation_square * record.gradient_square) / record.positions

    criteria = {"taylor": kt.criteria.Taylor(normalize=None), "alignment": _quadrants.Alignment(), "sizes": Sizes()}
    taylor, alignment, sizes = kt.score_all(lab.model, x, y, criteria=criteria).values()
    np.testing.assert_allclose(taylor.values, alignment.values * sizes.values, rtol=1e-4, atol=1e-9)
    assert 0 < alignment.values.max() <= 1


def test_quadrants_halve_every_layer_group(first):
    _, study, lab, samples = first
    scores = lab.scores(_quadrants.CRITERIA, 0)
    for layer in samples[0].layers:
        names = samples[0].quadrant[layer]
        high = np.char.startswith(names, "high a")
        assert high.sum() == len(layer) // 2
        assert scores["activation"][layer[high]].min() > scores["activation"][layer[~high]].max()
        assert np.char.endswith(names, "high g").sum() == len(layer) // 2
    for number in range(len(SEEDS)):
        counts = [study.values["quadrants"][name]["channels"][number] for name in _quadrants.QUADRANTS]
        assert sum(counts) == len(lab.ranks.free)


@pytest.mark.parametrize("share", SHARES)
def test_all_coalitions_remove_as_many_channels_of_each_layer(first, share):
    _, _, lab, samples = first
    for sample in samples:
        masks = [sample.mask(share, one) for one in _shapley.COALITIONS]
        assert len(masks) == 8
        for layer in sample.layers:
            assert {int((~mask[layer]).sum()) for mask in masks} == {_quadrants.count_of(layer, share)}
        assert len({lab.graph.cost.totals(mask)["macs"] for mask in masks}) == 1
        free = np.isin(np.arange(lab.graph.channels), lab.ranks.free)
        assert all(mask[~free].all() for mask in masks)


@pytest.mark.parametrize("share", SHARES)
def test_nobody_is_activation_and_all_are_taylor(first, share):
    _, _, lab, samples = first
    for seed, sample in zip(SEEDS, samples, strict=True):
        scores = lab.scores(_quadrants.CRITERIA, seed)
        for coalition, name in ((frozenset(), "activation"), (frozenset(_quadrants.PLAYERS), "Taylor")):
            gone = np.flatnonzero(~sample.mask(share, coalition))
            lowest = [layer[np.argsort(scores[name][layer])][: _quadrants.count_of(layer, share)] for layer in sample.layers]
            assert sorted(gone) == sorted(np.concatenate(lowest))


def test_a_class_changes_ranks_of_its_own_channels_only(first):
    _, _, _, (sample, _) = first
    one = frozenset({"low a, high g"})
    mine = sample.quadrant == "low a, high g"
    hybrid = np.where(mine, sample.ranks["Taylor"], sample.ranks["activation"])
    np.testing.assert_array_equal(sample.mask(0.5, one), ~sample.removed(0.5, hybrid))


def test_disagreements_are_what_only_one_removes(first):
    _, study, _, samples = first
    for share in SHARES:
        for number, sample in enumerate(samples):
            a, t = (~sample.mask(share, one) for one in (frozenset(), frozenset(_quadrants.PLAYERS)))
            alone, other = sample.disagreements(share)
            np.testing.assert_array_equal(alone | other, a != t)
            assert not (alone & t).any() and not (other & a).any() and alone.sum() == other.sum()
            counts = [q["disagreements"][f"{share:g}"][number] for q in study.values["quadrants"].values()]
            assert sum(counts) == (a != t).sum()
    assert any(sample.disagreements(0.5)[0].any() for sample in samples)  # else this tests nothing


def test_shapley_values_add_up_to_the_gap(first):
    _, study, lab, samples = first
    x, y = VALIDATION
    for share in SHARES:
        found = study.values["shares"][f"{share:g}"]
        for number, sample in enumerate(samples):
            (loss, accuracy), (loss_a, accuracy_a) = (
                lab.masked.evaluate(x, y, sample.mask(share, one)) for one in (frozenset(_quadrants.PLAYERS), frozenset())
            )
            for measure, gap in (("accuracy", accuracy - accuracy_a), ("loss saved", loss_a - loss)):
                parts = [found["Shapley values"][player][measure][number] for player in _quadrants.PLAYERS]
                assert sum(parts) == pytest.approx(gap, abs=1e-9)
                assert found["gap"][measure][number] == pytest.approx(gap, abs=1e-9)
    assert any(abs(gap) > 1e-6 for one in study.values["shares"].values() for gap in one["gap"]["loss saved"])


def fabricated(accuracy, loss, **players):
    values = {player: {"accuracy": [0.0, 0.0, 0.0], "loss saved": [0.0, 0.0, 0.0]} for player in _quadrants.PLAYERS}
    values |= {player.replace("_", " "): {"accuracy": one, "loss saved": one} for player, one in players.items()}
    pooled = {"gap": {"accuracy": accuracy, "loss saved": loss}, "Shapley values": values}
    return " ".join(carriers({"0.1": pooled}, pooled))


def test_the_answer_follows_the_numbers():
    gap = [0.05, 0.051, 0.052]
    values = {"low a, high g": gap}
    text = fabricated(gap, gap, **values)
    assert '"low a, high g" 100 %' in text and '"low a, high g" has the largest part' in text
    assert "at 10 % Taylor is better" in text
    assert "prefer Taylor" in text and "which activation underrates" in text
    worse = [-one for one in gap]
    assert 'prefer activation; it is better in accuracy, most of all since Taylor decides worse about "rest"' in fabricated(
        worse, worse, rest=worse
    )
    noise = [0.05, -0.06, 0.01]
    text = fabricated(noise, noise)
    assert "a null result, and no class of disagreement carries it." in text and "no reason to prefer" in text
    assert "no gap excludes zero" in text and "a gap of up to about 13.8 points would go unseen" in text
    assert "better in loss, though not in accuracy, in no single class" in fabricated(noise, gap)
    assert "nothing follows from one sample" in fabricated([0.05], [0.05], rest=[0.05])


def test_parts_of_a_gap_are_shown_only_where_it_excludes_zero():
    def row(gap):
        values = {player: {"accuracy": gap, "loss saved": gap} for player in _quadrants.PLAYERS}
        gaps = {"0.1": {"gap": {"accuracy": gap, "loss saved": gap}, "Shapley values": values}}
        return shapley_table(gaps).rows[0]

    assert row([0.05, 0.051, 0.052])[2] == "100 %" and row([0.05, -0.06, 0.01])[2] == ""


def test_nothing_is_measured_twice(first, monkeypatch):
    folder, study, _, _ = first

    def fail(*args, **kwargs):
        raise AssertionError("measured again")

    monkeypatch.setattr(_lab, "oracle", fail)
    monkeypatch.setattr(_lab, "score_all", fail)
    monkeypatch.setattr(Masked, "evaluate", fail)
    again = studied(folder)
    assert again.values == study.values and again.to_markdown() == study.to_markdown()
    with pytest.raises(AssertionError, match="measured again"):
        studied(folder, validation_data=(X[40:], Y[40:]))  # other examples are another measurement


def test_files(first, tmp_path):
    _, study, _, _ = first
    study.save(tmp_path)
    stored = json.loads((tmp_path / "disagree.json").read_text())
    assert stored["study"] == "disagree" and stored["values"] == json.loads(json.dumps(study.values))
    text = (tmp_path / "disagree.md").read_text()
    full = study.values["unpruned"]
    assert f"{100 * full['accuracy']:.1f} % accuracy and a loss of {full['loss']:.3f}" in text
    gap = study.values["shares"]["0.5"]["gap"]["accuracy"]
    assert shown([100 * one for one in gap], 1) in text and "50 %: low a, high g" in text
    assert all(line in text for line in study.answer) and "nan" not in text and "-0.00 " not in text
    assert (tmp_path / "disagree.png").read_bytes().startswith(b"\x89PNG")
    assert kt.studies.Study.load(tmp_path / "disagree.json") == study
    assert "Disagreements of Taylor" in str(study)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"shares": (0.1, 1.0)}, "shares must be different numbers between 0 and 1"),
        ({"shares": ()}, "shares must be different"),
        ({"shares": (0.01,)}, "must remove at least one channel of a layer group. Received: 0.01"),
        ({"seeds": (1, 1)}, "seeds must be different"),
        ({"examples": 1000}, "x must have at least as many examples"),
        ({"validation_data": None}, "validation_data must be given"),
        ({"validation_data": (X[:, :4], Y)}, "validation_data must have the shapes of x and y"),
        ({"model": "one unit"}, "The model must have an output for each of two or more classes"),
        ({"model": "locked"}, "channels that may go"),
    ],
)
def test_bad_input_is_an_error_before_any_work(tmp_path, monkeypatch, options, text):
    def fail(*args, **kwargs):
        raise AssertionError("worked")

    monkeypatch.setattr(_lab, "oracle", fail)
    monkeypatch.setattr(_lab, "score_all", fail)
    monkeypatch.setattr(Masked, "evaluate", fail)
    models = {"one unit": lambda: nets.compiled(nets.chain(classes=1), "mse"), "locked": locked}
    options = dict(options)
    if "model" in options:
        options["model"] = models[options["model"]]()
    with pytest.raises(BadInput, match=text):
        studied(tmp_path, **options)


def locked():
    return nets.compiled(keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Flatten(), keras.layers.Dense(3)]))
