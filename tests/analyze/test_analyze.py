"""`kt.analyze`: measured shares are what `kt.prune` gives, the others lie between, and what cannot go is named."""

import dataclasses

import keras
import numpy as np
import pytest

import keras_taylor as kt
from tests import nets

layers = keras.layers
X, Y = nets.images(120, classes=3)
QUICK = kt.Recipe(repair="bias", examples=100)
SHARES = (0.9, 0.8, 0.7, 0.5, 0.3, 0.01)


def analyzed(model=None, x=X, y=None, **options):
    options = {"recipe": QUICK, "shares": SHARES, "verbose": 0, **options}
    return kt.analyze(network() if model is None else model, x, y, **options)


def network():
    return nets.compiled(nets.chain(classes=3), metrics=["accuracy"])


@pytest.fixture(scope="module")
def analysis():
    return analyzed(y=Y, measured=2, within=0.9)


def test_a_measured_share_is_what_prune_gives(analysis):
    row = next(row for row in analysis.rows if row.status == "measured")
    found = kt.prune(network(), X, Y, target=kt.Target(macs=row.share), recipe=QUICK, verbose=0)
    assert (row.agreement, row.error) == (found.repair.chosen.agreement, found.repair.chosen.error)
    assert (row.macs, row.params) == (found.plan.after["macs"], found.plan.after["params"])


def test_estimates_lie_between_their_neighbours(analysis):
    kept = [row for row in analysis.rows if row.status != "unreachable"]
    assert [row.status for row in kept].count("measured") == 2 and {row.status for row in kept} == {"measured", "estimated"}
    for i, row in enumerate(kept):
        if row.status == "estimated":
            above, below = ([1.0, *(one.agreement for one in kept[:i])], [one.agreement for one in kept[i + 1 :]])
            assert min(below) <= row.agreement <= max(above)


@pytest.mark.parametrize("within", [0.0, 0.2])
def test_the_largest_cut_and_the_next_share_are_measured(within):
    found = analyzed(within=within)
    cut = found.largest_cut
    reachable = [row for row in found.rows if row.status != "unreachable"]
    first = 0 if cut is None else [row.share for row in reachable].index(cut)
    assert {row.status for row in reachable[first : first + 2]} == {"measured"}
    assert cut is None or found[cut].agreement >= 1 - within - 1e-9
    assert all(row.agreement < 1 - within for row in reachable if cut is None or row.share < cut)


def test_a_share_below_the_floor_is_unreachable(analysis):
    row = analysis[0.01]
    assert (row.status, row.macs, row.agreement, row.lost) == ("unreachable", None, None, None)
    assert analysis.floor > 0.01 * analysis.macs
    scores = kt.score(network(), X, Y, examples=100, verbose=0)
    least = kt.plan(scores, kt.Target(macs=analysis.floor))
    assert least.after["macs"] == analysis.floor
    with pytest.raises(kt.errors.InfeasibleTarget):
        kt.plan(scores, kt.Target(macs=analysis.floor - 1))


def test_nothing_can_be_reached():
    found = analyzed(shares=[0.9, 0.5], recipe=kt.Recipe(constraints=kt.Constraints(keep=lambda _: True)))
    assert found.largest_cut is None and found.floor == found.macs
    assert "None of these shares can be reached: at least 100.0 % of the MACs stay" in str(found)


def test_locked_layers_are_named_with_what_they_cost():
    found = analyzed(measured=1, within=0.9, recipe=kt.Recipe(repair="bias", constraints=kt.Constraints(keep=["conv2"])))
    locked = {one.name: one for one in found.locked}
    assert list(locked) == ["conv2", "logits"]
    assert locked["logits"].reason == "model output" and locked["conv2"].reason == "Constraints(keep=)"
    assert (locked["conv2"].channels, locked["conv2"].macs) == (8, 16 * 9 * 6 * 8)
    assert locked["conv2"].stays == 16 * 9 * 1 * 8  # one channel of conv1 is left
    assert locked["logits"].stays == locked["logits"].macs == 8 * 3
    assert found.floor == 36 * 27 + locked["conv2"].stays + locked["logits"].stays


def test_a_kernel_that_no_rule_follows_is_locked():
    inputs = keras.Input((6, 8), name="sequence")
    x = layers.Dense(8, name="dense")(inputs)
    x = layers.Dense(8, name="free")(layers.MultiHeadAttention(2, 4, name="attention")(x, x))
    model = nets.compiled(keras.Model(inputs, layers.Dense(3, name="logits")(x), name="attentive"))
    found = analyzed(model, nets.images(32, shape=(6, 8))[0], shares=[0.1], recipe=kt.Recipe(repair="bias"))
    attention = found.locked[0]
    assert (attention.name, attention.reason) == ("attention", "no rule follows its kernels")
    assert attention.stays == attention.macs == 4 * 6 * 8 * 8 + 2 * 6 * 6 * 8


def test_validation_data_decide_by_their_accuracy():
    model = network()
    x, y = nets.images(60, classes=3, seed=1)
    found = analyzed(model, validation_data=(x, y), shares=[0.5], measured=1)
    assert found.judged_by == "accuracy" and found.metric == pytest.approx(model.evaluate(x, y, verbose=0)[1])
    row = found[0.5]
    pruned = kt.prune(model, X, target=kt.Target(macs=0.5), recipe=QUICK, validation_data=(x, y), verbose=0)
    assert row.metric == pruned.report["final"].metrics["accuracy"]
    assert row.lost == pytest.approx(found.metric - row.metric)


def test_without_labels_and_without_classes_the_error_decides():
    model = nets.randomized(nets.chain(classes=1))
    found = analyzed(model, shares=[0.8, 0.5], measured=1, within=0.99)
    assert found.judged_by == "error" and [row.agreement for row in found.rows] == [None, None]
    assert [row.lost for row in found.rows] == [row.error for row in found.rows]
    assert "training pass" not in found.seconds and "it needs labels" in str(found)


def test_seconds_of_every_step(analysis):
    assert list(analysis.seconds) == ["trace", "score", "plan", "rebuild", "repair", "training pass"]
    assert all(seconds > 0 for seconds in analysis.seconds.values())


def test_auto_tries_only_the_quick_methods(monkeypatch):
    monkeypatch.setattr("keras_taylor._repair.methods.ENOUGH", 1)
    monkeypatch.setattr(kt.repairs.Tune, "apply", lambda *_: pytest.fail("it takes its time"))
    found = analyzed(recipe=kt.Recipe(examples=64), shares=[0.6], measured=1)
    assert found[0.6].status == "measured"
    with pytest.raises(pytest.fail.Exception, match="it takes its time"):
        kt.prune(network(), X, target=kt.Target(macs=0.6), recipe=kt.Recipe(examples=64), verbose=0)


def test_the_model_is_not_changed():
    model = network()
    before = nets.state(model)
    analyzed(model, y=Y, shares=[0.6], measured=1)
    nets.assert_same_state(before, nets.state(model))


def test_it_prints_and_is_a_file(analysis, tmp_path):
    text = str(analysis)
    for part in (
        "measured",
        "estimated",
        "unreachable",
        "What cannot go",
        "logits",
        "model output",
        "Seconds: ",
        "training pass",
    ):
        assert part in text
    assert "<table>" in analysis._repr_html_() and "| 90 % |" in analysis.render("markdown")
    analysis.save(tmp_path / "analysis.json")
    assert kt.Analysis.load(tmp_path / "analysis.json") == analysis


def test_many_locked_layers_are_summed_up(analysis):
    locked = tuple(kt.results.LockedLayer(f"layer{i}", "model output", 1, 10, 10) for i in range(20))
    text = str(dataclasses.replace(analysis, locked=locked))
    assert "layer11" in text and "layer12" not in text and "8 more" in text


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"shares": []}, "shares must be fractions between 0 and 1. Received: []"),
        ({"shares": [0.5, 1.5]}, "shares must be fractions between 0 and 1. Received: [1.5]"),
        ({"shares": [True]}, "shares must be fractions between 0 and 1. Received: [True]"),
        ({"shares": 0.5}, "shares must be a list. Received: 0.5. Write shares=[...]"),
        ({"measured": 0}, "measured must be a whole number of at least 1. Received: 0"),
        ({"within": 1}, "within must be a fraction from 0 to below 1. Received: 1. Pass 0.01 for one point"),
        ({"within": "1 %"}, "within must be a fraction from 0 to below 1. Received: '1 %'"),
        ({"x": None}, "x must be given to analyze. Received: None"),
        ({"recipe": "paper"}, "recipe of analyze must repair. Received: repair=None"),
        ({"recipe": "taylor"}, "recipe must be a kt.Recipe, or 'paper'. Received: 'taylor'"),
        ({"x": X[:, :4]}, "Inputs must have the model's input shapes"),
        ({"x": X * np.nan}, "Inputs must be finite"),
        ({"x": X[:0]}, "x must have at least one example"),
        ({"y": Y[:5]}, "must have one length"),
        ({"validation_data": X}, "validation_data must have labels"),
        ({"verbose": 3}, "verbose must be 'auto', 0, 1 or 2"),
    ],
)
def test_bad_input(options, text):
    with pytest.raises(kt.errors.BadInput) as caught:
        analyzed(**options)
    assert text in str(caught.value)


def test_names_in_constraints_are_checked_first():
    with pytest.raises(kt.errors.UnknownName, match="Did you mean 'conv1'"):
        analyzed(recipe=kt.Recipe(constraints=kt.Constraints(keep=["conv_1"])))
