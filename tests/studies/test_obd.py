"""Study B: second-order criteria beside Taylor."""

import numpy as np
import pytest

import keras_taylor as kt
from keras_taylor.studies import _obd, _obd_shown
from keras_taylor.studies._cost import peaks_of, seconds
from tests import nets

OPTIONS = {
    "memory": False,
    "examples": 16,
    "seeds": (0, 1),
    "batch_size": 8,
    "timed": 16,
    "repetitions": 2,
    "shares": (0.8, 0.5),
    "verbose": 0,
}


@pytest.fixture(scope="module")
def residual():
    return nets.compiled(nets.residual()), nets.images(40, 3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("lab")


@pytest.fixture(scope="module")
def study(residual, folder):
    model, data = residual
    return kt.studies.obd(model, data, validation_data=nets.images(32, 3, seed=5), run_dir=folder, **OPTIONS)


def test_accuracy_is_that_of_the_pruned_net(residual, study):
    model, (x, y) = residual
    rows = np.random.default_rng(1).permutation(len(x))[:16]
    scores = kt.score(model, x[rows], y[rows], criterion="taylor_gate")
    small = kt.rebuild(model, kt.plan(scores, kt.Target(macs=0.5)))
    x, y = nets.images(32, 3, seed=5)
    expected = float((small.predict(x, verbose=0).argmax(-1) == y).mean())
    assert study.values["criteria"]["taylor_gate"]["accuracy"]["0.5"][1] == pytest.approx(expected)


def test_streams_are_apart(study):
    found = study.values["criteria"][_obd.EXACT]
    assert len(found["read by one"]) == len(found["read by several"]) == 2
    assert "several layers read" in study.tables[0].caption


def test_the_empirical_fisher_is_no_independent_comparison(study):
    assert np.mean(study.values["criteria"]["empirical Fisher (Taylor, squared)"]["with taylor_gate"]) > 0.8


def test_costs_are_relative_to_taylor(study):
    assert _obd_shown._slower({_obd.REFERENCE: {"seconds": [1.0, 2.0, 2.0]}, "a": {"seconds": [3.0, 2.0, 8.0]}}, "a") == 3.0
    seconds = {label: np.median(found["seconds"]) for label, found in study.values["criteria"].items()}
    assert all(value > 0 for value in seconds.values())
    assert len(study.values["criteria"][_obd.EXACT]["seconds"]) == 2


def test_costs_are_taken_in_turns(residual, monkeypatch):
    model, (x, y) = residual
    order = []
    from keras_taylor.studies import _cost

    monkeypatch.setattr(_cost, "scorer", lambda model, criteria, *_: lambda: order.append(criteria[0].name))
    seconds(model, {"a": kt.criteria.Taylor(), "b": kt.criteria.OBD()}, x, y, 8, 2)
    assert order == ["taylor", "obd"] * 3  # once to trace, then twice for the clock


def test_peak_memory_of_a_process_of_its_own(residual):
    model, (x, y) = residual
    with peaks_of(model, x[:8], y[:8]) as peak:
        assert 0 <= peak(_obd.REFERENCE) < 500


def test_memory_that_cannot_be_measured_is_left_open(residual, monkeypatch):
    model, (x, y) = residual
    from keras_taylor.studies import _cost

    monkeypatch.setattr(_cost.sys, "executable", "false")
    with peaks_of(model, x[:8], y[:8]) as peak, pytest.warns(UserWarning, match="could not be measured: exit code 1"):
        assert peak(_obd.REFERENCE) is None


@pytest.mark.parametrize(
    ("fisher", "words"), [(1.4, "about what the review"), (2.0, "more than the review"), (1.0, "less than the review")]
)
def test_the_verdict_on_cost(study, fisher, words):
    values = {label: dict(found) for label, found in study.values["criteria"].items()}
    values[_obd.REFERENCE]["seconds"], values[_obd.FISHER]["seconds"] = [1.0], [fisher]
    values[_obd.EXACT]["seconds"] = [5.0]
    answer = _obd_shown.verdict(values, study.values["accuracy by the oracle"])
    assert words in answer[0] and "exact 5.0 times" in answer[0]


def test_files(study, tmp_path):
    study.save(tmp_path)
    assert {path.suffix for path in tmp_path.iterdir()} == {".json", ".md", ".png"}
    assert "accuracy at 80 %" in (tmp_path / "obd.md").read_text()
    assert kt.studies.Study.load(tmp_path / "obd.json") == study


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"shares": ()}, kt.errors.BadInput, "shares must be different numbers between 0 and 1"),
        ({"shares": (1.2,)}, kt.errors.BadInput, "between 0 and 1"),
        ({"shares": (1e-6,)}, kt.errors.InfeasibleTarget, "macs"),
        ({"rank": "best"}, kt.errors.BadInput, "rank must be"),
        ({"timed": 41}, kt.errors.BadInput, "timed must be at most"),
        ({"timed": 0}, kt.errors.BadInput, "timed must be a whole number of at least 1"),
        ({"validation_data": None}, kt.errors.BadInput, "validation_data must be given"),
    ],
)
def test_bad_options(residual, tmp_path, change, error, message):
    model, data = residual
    options = {"validation_data": data, **OPTIONS, **change}
    with pytest.raises(error, match=message):
        kt.studies.obd(model, data, run_dir=tmp_path / "new", **options)
    assert not list(tmp_path.rglob("scores-*"))
