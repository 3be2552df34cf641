"""Studies on nets that take a second: what is measured is kept, and what is said follows from the numbers."""

import json

import keras
import numpy as np
import pytest

import keras_taylor as kt
from keras_taylor.studies import _correlation, _correlation_shown, _lab, _statistics
from keras_taylor.studies._statistics import Ranks
from tests import nets

FEW = {
    name: _correlation.CRITERIA[name]
    for name in (
        _correlation_shown.EQ8,
        _correlation_shown.GATE,
        _correlation_shown.ABSOLUTE,
        "magnitude",
        "taylor_logits",
        "bn_scale",
    )
}
OPTIONS = {"examples": 16, "seeds": (0, 1), "batch_size": 8, "verbose": 0}


@pytest.fixture(scope="module")
def residual():
    return nets.compiled(nets.residual()), nets.images(40, 3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("lab")


@pytest.fixture(scope="module")
def study(residual, folder):
    return kt.studies.correlation(*residual, run_dir=folder, criteria=FEW, **OPTIONS)


def test_correlations_are_those_of_scores_and_oracle(residual, study):
    model, (x, y) = residual
    rows = np.random.default_rng(1).permutation(len(x))[:16]
    sample = x[rows], y[rows]
    scores, truth = (
        kt.score(model, *sample, criterion=FEW[_correlation_shown.GATE], verbose=0).values,
        kt.oracle(model, *sample, verbose=0).absolute().values,
    )
    ranks = Ranks(kt.trace(model))
    found = study.values["correlations"][_correlation_shown.GATE]
    assert found["all layers"][1] == pytest.approx(ranks.raw(scores, truth), abs=0.02)
    assert found["per layer"][1] == pytest.approx(ranks.per_layer(scores, truth), abs=0.02)
    assert found["all layers, l2"][1] == pytest.approx(ranks.l2(scores, truth), abs=0.02)
    assert len(found["other examples"]) == 2


def test_within_a_layer_one_over_m_makes_no_difference(study):
    found = study.values["correlations"]
    assert found[_correlation_shown.EQ8]["per layer"] == pytest.approx(found[_correlation_shown.GATE]["per layer"])


def test_tied_channels_are_told_apart(residual, study):
    ranks = Ranks(kt.trace(residual[0]))
    assert 0 < len(ranks.tied) < len(ranks.free)
    tied = study.values["tied"]["tied channels"]
    assert tied["difference"] == pytest.approx(
        np.mean(tied[_correlation_shown.GATE]) - np.mean(tied[_correlation_shown.ABSOLUTE])
    )
    assert tied["interval"][0] <= tied["difference"] <= tied["interval"][1]


def test_what_was_measured_is_not_measured_again(residual, study, folder, monkeypatch):
    def fail(*_, **__):
        raise AssertionError("measured again")

    monkeypatch.setattr(_lab, "oracle", fail)
    monkeypatch.setattr(_lab, "score_all", fail)
    again = kt.studies.correlation(*residual, run_dir=folder, criteria=FEW, **OPTIONS)
    assert again.values == study.values
    with pytest.raises(AssertionError, match="measured again"):
        kt.studies.correlation(*residual, run_dir=folder, criteria=FEW, **{**OPTIONS, "seeds": (0, 2)})


def test_an_interrupted_study_keeps_what_it_has(residual, tmp_path, monkeypatch):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(_lab, "oracle", interrupt)
        kt.studies.correlation(*residual, run_dir=tmp_path, criteria=FEW, **OPTIONS)
    assert (
        len(list((tmp_path / "measured").glob("scores-*.json"))) == len(FEW) * 2 + 4 * 2 * 2
    )  # those from weights need no halves
    assert not list((tmp_path / "measured").glob("oracle-*.json"))


def test_files(study, tmp_path):
    study.save(tmp_path)
    stored = json.loads((tmp_path / "correlation.json").read_text())
    assert stored["values"]["correlations"] == study.values["correlations"]
    text = (tmp_path / "correlation.md").read_text()
    best = f"{np.mean(study.values['correlations'][_correlation_shown.GATE]['all layers']):.2f}"
    assert best in text and "tensorflow" in text and "seeds=[0, 1]" in text
    assert (tmp_path / "correlation.png").read_bytes().startswith(b"\x89PNG")
    assert _correlation_shown.GATE in str(study)
    with pytest.raises(kt.errors.BadInput, match="must end with"):
        study.figure(tmp_path / "figure.gif")


def test_a_criterion_without_anything_to_look_at_is_left_out(tmp_path):
    model = nets.compiled(nets.chain())
    study = kt.studies.correlation(model, nets.images(40), run_dir=tmp_path, criteria=FEW, **OPTIONS)
    assert "bn_scale" not in study.values["correlations"]
    assert "tied" not in study.values
    assert "bn_scale" in study.settings["left out, nothing to look at"]


def test_all_criteria_and_the_answer(residual, folder):
    study = kt.studies.correlation(*residual, run_dir=folder, **{**OPTIONS, "seeds": (0, 1)})
    found = study.values["correlations"]
    assert set(found) == set(_correlation.CRITERIA) - {"bn_scale"}  # not every layer has a BatchNormalization
    names = {one.name for one in _correlation.CRITERIA.values()}
    assert set(kt.criteria.registered()) <= names | {"obd_exact", "obd_hutchinson", "empirical_fisher", "taylor_gate"}
    best = max(found, key=lambda label: max(np.mean(found[label][kind]) for kind in _correlation_shown.KINDS[1:]))
    assert f"`{best}`" in study.answer[0]


@pytest.mark.parametrize(
    ("gain", "words"),
    [
        ([0.3, 0.31, 0.29], "does not remove"),
        ([-0.3, -0.31, -0.29], "removes the need for normalisation, and l2 harms"),
        ([0.3, -0.3, 0.01], "removes the need for normalisation."),
        ([0.3], "cannot tell"),
    ],
)
def test_the_verdict_on_normalisation(gain, words):
    values = {
        _correlation_shown.EQ8: {"all layers": [0.1] * len(gain), "all layers, l2": [0.5] * len(gain)},
        _correlation_shown.GATE: {"all layers": [0.5] * len(gain), "all layers, l2": [0.5 + g for g in gain]},
    }
    assert words in _correlation_shown.normalisation(values)[0]


def test_another_activation_or_loss_is_another_model(tmp_path):
    one = {"l1": "l1"}
    data = nets.images(40)
    for number, (activation, weight) in enumerate((("relu", None), ("gelu", None), ("relu", 5.0))):
        model = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(4, 3, activation=activation)])
        model.add(keras.layers.GlobalAveragePooling2D())
        model.add(keras.layers.Dense(2))
        nets.compiled(model, loss_weights=weight)
        if number:
            with pytest.raises(kt.errors.BadInput, match=r"model\.options was" if weight is None else "loss weights was null"):
                kt.studies.correlation(model, data, run_dir=tmp_path, criteria=one, **OPTIONS)
        else:
            kt.studies.correlation(model, data, run_dir=tmp_path, criteria=one, **OPTIONS)


def test_criteria_from_elsewhere_are_told_apart_by_their_source(tmp_path):
    class A(kt.criteria.Taylor):
        def result(self, state):
            return super().result(state)

    class B(kt.criteria.Taylor):
        def result(self, state):
            return -super().result(state)

    assert _lab._name(A()) != _lab._name(B()) and _lab._name(kt.criteria.Taylor()) == "Taylor"


def test_samples_must_be_mostly_apart(residual, tmp_path):
    with pytest.raises(kt.errors.BadInput, match="at most half of the data"):
        kt.studies.correlation(*residual, run_dir=tmp_path, criteria=FEW, **{**OPTIONS, "examples": 21})
    with pytest.raises(kt.errors.BadInput, match="something to look at"):
        kt.studies.correlation(
            nets.compiled(nets.chain()), nets.images(40), run_dir=tmp_path, criteria={"a": "bn_scale"}, **OPTIONS
        )
    with pytest.raises(kt.errors.UnknownName, match="Did you mean"):
        kt.studies.correlation(*residual, run_dir=tmp_path, criteria={"a": "tailor"}, **OPTIONS)


def test_images_and_classes_are_checked_before_any_work(residual, tmp_path):
    model, (x, y) = residual
    broken = x.copy()
    broken[7, 0, 0, 0] = np.nan
    for data, message in (((broken, y), "the first is number 7"), ((x, y + 5), "classes below 3, the number of outputs")):
        with pytest.raises(kt.errors.BadInput, match=message):
            kt.studies.correlation(model, data, run_dir=tmp_path / "new", **OPTIONS)
    assert not (tmp_path / "new").exists()


def test_a_wrong_call_can_be_mended_in_the_same_folder(residual, tmp_path):
    with pytest.raises(kt.errors.BadInput, match="examples must be at most half"):
        kt.studies.correlation(*residual, run_dir=tmp_path, criteria=FEW, **{**OPTIONS, "examples": 30})
    kt.studies.correlation(*residual, run_dir=tmp_path, criteria={"l1": "l1"}, **OPTIONS)


def test_another_model_is_refused(residual, study, folder):
    other = nets.compiled(nets.chain())
    with pytest.raises(kt.errors.BadInput, match=r"model\.structure was"):
        kt.studies.correlation(other, nets.images(40), run_dir=folder, **OPTIONS)
    with pytest.raises(kt.errors.BadInput, match=r"settings\.examples was 16 and is 17"):
        kt.studies.correlation(*residual, run_dir=folder, **{**OPTIONS, "examples": 17})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seeds": ()}, "seeds must be different, and at least one"),
        ({"seeds": (1, 1)}, "seeds must be different"),
        ({"examples": 1}, "examples must be a whole number of at least 2"),
        ({"examples": 41}, "at least as many examples as a sample"),
        ({"criteria": {}}, "at least one criterion"),
        ({"criteria": ["taylor"]}, "a dict of criteria by label"),
        ({"seeds": (-1,)}, "seeds must be a whole number of at least 0"),
        ({"seeds": (0.5,)}, "a whole number"),
        ({"seeds": 3}, "Write range"),
    ],
)
def test_bad_options(residual, tmp_path, change, message):
    with pytest.raises(kt.errors.BadInput, match=message):
        kt.studies.correlation(*residual, run_dir=tmp_path / "new", **{**OPTIONS, **change})
    assert not (tmp_path / "new").exists()


def test_bad_data_and_models(residual, tmp_path):
    model, (x, y) = residual
    cases = (
        (None, "Received: None"),
        (x, "labels"),
        ((x, np.zeros((40, 2, 2))), "one class"),
        ((x, y, y), "no sample weights"),
    )
    for data, message in cases:
        with pytest.raises(kt.errors.BadInput, match=message):
            kt.studies.correlation(model, data, run_dir=tmp_path, **OPTIONS)
    with pytest.raises(kt.errors.BadInput, match="must be compiled"):
        kt.studies.correlation(nets.chain(), (x, y), run_dir=tmp_path, **OPTIONS)


def test_one_hot_labels(tmp_path):
    model = nets.compiled(nets.chain(), loss=keras.losses.CategoricalCrossentropy(from_logits=True))
    x, y = nets.images(40)
    study = kt.studies.correlation(
        model,
        (x, np.eye(2, dtype="float32")[y]),
        run_dir=tmp_path,
        criteria={"taylor_gate": FEW[_correlation_shown.GATE]},
        **OPTIONS,
    )
    assert np.isfinite(study.values["correlations"]["taylor_gate"]["all layers"]).all()


def test_intervals():
    mean, half = _statistics.mean_interval([1.0, 2.0, 3.0])
    assert (mean, half) == (2.0, pytest.approx(4.3027 / np.sqrt(3), rel=1e-4))  # t of 2 degrees of freedom
    assert _statistics.shown([1.0, 2.0, 3.0]) == "2.00 ± 2.48"
    assert _statistics.shown([0.5]) == "0.50"
    assert _statistics.spearman(np.ones(3), np.arange(3)) == 0.0
    low, high = _statistics.bootstrap(lambda rows: float(rows.mean()), 100)
    assert low < 49.5 < high
