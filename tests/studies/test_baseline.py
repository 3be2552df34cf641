"""Study E: the unpruned net after as much training, and nets from scratch, beside the pruned one."""

import contextlib
import io
import json
import math

import keras
import numpy as np
import pytest

import keras_taylor as kt
from keras_taylor._rebuild.rebuild import drawn_anew
from keras_taylor._run.report import Stage
from keras_taylor.errors import BadInput, InfeasibleTarget
from keras_taylor.studies import _baseline_arms, _baseline_shown
from keras_taylor.studies._accuracy import accuracy
from keras_taylor.studies._baseline_shown import BASE, CONTINUED, FALLING, MINOR, PRUNED, RESTARTED, UNIFORM
from keras_taylor.studies._lab import Lab
from keras_taylor.studies._uniform import uniform
from tests import nets

EXAMPLES, BATCH, BEFORE, MORE, SHARE = 40, 32, 1, 1, 0.5
STEPS = 2  # batches of 32 in 40
LIBRARY = kt.Recipe(criterion="l1", repair=None)
OPTIONS = {
    "validation_data": nets.images(30, 3, seed=5),
    "share": SHARE,
    "epochs": MORE,
    "seeds": (0, 1),
    "batch_size": BATCH,
    "recipes": {"paper": "paper", "library": LIBRARY},
    "optimizer": keras.optimizers.SGD(0.05),
    "verbose": 2,
}


def trained(optimizer=None):
    optimizer = optimizer or keras.optimizers.SGD(0.01, momentum=0.9)
    model = nets.compiled(nets.residual(batch_norm=False), optimizer=optimizer, run_eagerly=True)  # nothing to compile: faster
    model.fit(*nets.images(EXAMPLES, 3), batch_size=BATCH, epochs=BEFORE, verbose=0)
    return model


@pytest.fixture(scope="module")
def model():
    return trained()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("lab")


@pytest.fixture(scope="module")
def before(model):
    return nets.state(model)


@pytest.fixture(scope="module")
def told(model, before, folder):
    """The study, what it printed, and for each arm and seed the weights, updates and rate that its training began with."""
    starts, now, made, text = {}, [None], _baseline_arms.Arms._made, io.StringIO()

    class Spy(_baseline_arms._Bar):
        def on_train_begin(self, logs=None):
            optimizer = self.model.optimizer
            starts.setdefault(now[0], (self.model.get_weights(), int(optimizer.iterations), float(optimizer.learning_rate)))

    def noted(self, arm, seed):
        now[0] = arm.name, seed
        return made(self, arm, seed)

    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(text):
        patch.setattr(_baseline_arms, "_Bar", Spy)
        patch.setattr(_baseline_arms.Arms, "_made", noted)
        study = kt.studies.baseline(model, *nets.images(EXAMPLES, 3), run_dir=folder, **OPTIONS)
    return study, text.getvalue().splitlines(), starts


@pytest.fixture(scope="module")
def study(told):
    return told[0]


@pytest.fixture(scope="module")
def arms(study):
    return {arm["name"]: arm for arm in study.values["arms"]}


def test_the_model_is_as_it_was(study, model, before):
    nets.assert_same_state(before, nets.state(model))


def test_all_arms_are_there(arms):
    shapes = [f"{role} ({recipe})" for recipe in ("paper", "library") for role in ("pruned", "scratch-E", "scratch-B")]
    assert list(arms) == [BASE, CONTINUED, RESTARTED, FALLING, *shapes, UNIFORM]
    assert all(len(arm["accuracy"]) == (1 if name == BASE else 2) for name, arm in arms.items())


def test_n_is_what_the_optimizer_counted(study):
    assert study.settings["epochs before"] == BEFORE


def test_updates_and_macs_are_those_of_the_epochs(study, arms):
    full = study.values["unpruned macs"]
    for name in (CONTINUED, RESTARTED, FALLING):
        assert arms[name]["updates"] == [STEPS * (BEFORE + MORE)] * 2
        assert arms[name]["training macs"] == [3 * full * EXAMPLES * (BEFORE + MORE)] * 2
    assert arms[BASE]["updates"] == [STEPS * BEFORE] and arms[BASE]["training macs"] == [3 * full * EXAMPLES * BEFORE]
    for name in ("scratch-E (paper)", UNIFORM):
        assert arms[name]["updates"] == [STEPS * (BEFORE + MORE)] * 2
        assert arms[name]["training macs"] == [3 * macs * EXAMPLES * (BEFORE + MORE) for macs in arms[name]["macs"]]
        assert all(macs <= SHARE * full for macs in arms[name]["macs"])


def test_scratch_b_has_the_compute_of_n_and_m_and_not_an_epoch_more(study, arms):
    enough = arms[CONTINUED]["training macs"][0]
    for recipe in ("paper", "library"):
        found, small = arms[f"scratch-B ({recipe})"], arms[f"pruned ({recipe})"]
        assert found["macs"] == small["macs"]
        for epochs, macs, spent in zip(found["epochs"], found["macs"], found["training macs"], strict=True):
            assert epochs == math.ceil((BEFORE + MORE) * study.values["unpruned macs"] / macs)
            assert spent == 3 * macs * EXAMPLES * epochs
            assert enough <= spent < enough + 3 * macs * EXAMPLES


def test_what_pruning_trains_is_counted_as_it_shrinks(study, arms):
    full = study.values["unpruned macs"]
    for recipe in ("paper", "library"):  # with two epochs there is one removal, at once; this net has nothing to teach
        arm = arms[f"pruned ({recipe})"]
        expected = [EXAMPLES * (3 * full * BEFORE + MORE * 3 * macs) for macs in arm["macs"]]
        assert arm["training macs"] == expected and arm["updates"] == [STEPS * (BEFORE + MORE)] * 2
    stages = [Stage("before", 0, 100, 1, 1), Stage("pruned 1", 0, 60, 1, 1), Stage("trained 1", 1, 60, 1, 1)]
    stages += [Stage("pruned 2", 1, 40, 1, 1), Stage("final", 3, 40, 1, 1)]
    assert _baseline_arms.pruning_macs(stages, taught=False) == 3 * 60 + 2 * 3 * 40
    assert _baseline_arms.pruning_macs(stages, taught=True) == 3 * 60 + 2 * 3 * 40 + 3 * 100


def test_pruned_is_what_fit_with_pruning_makes(model, arms):
    x, y = nets.images(EXAMPLES, 3)
    keras.utils.set_random_seed(1)
    options = {"epochs": MORE, "recipe": "paper", "batch_size": BATCH, "seed": 1, "verbose": 0}
    small = kt.fit_with_pruning(model, x, y, target=kt.Target(macs=SHARE), **options).model
    x, y = OPTIONS["validation_data"]
    assert arms["pruned (paper)"]["accuracy"][1] == np.mean(small.predict(x, verbose=0).argmax(-1) == y)


def test_unpruned_goes_on_with_the_state_of_its_optimizer(model, arms):
    x, y = nets.images(EXAMPLES, 3)
    copy = keras.models.clone_model(model)
    copy.compile(keras.optimizers.SGD(0.01, momentum=0.9), nets.CROSS_ENTROPY)
    copy.optimizer.build(copy.trainable_variables)
    for old, new in zip(model.optimizer.variables, copy.optimizer.variables, strict=True):
        new.assign(old)
    copy.set_weights(model.get_weights())
    keras.utils.set_random_seed(1)
    copy.fit(x, y, batch_size=BATCH, epochs=MORE, verbose=0)
    x, y = OPTIONS["validation_data"]
    assert arms[CONTINUED]["accuracy"][1] == np.mean(copy.predict(x, verbose=0).argmax(-1) == y)


def test_each_start_is_what_it_says(model, told):
    starts = told[2]
    for name, updates, learning_rate in ((CONTINUED, BEFORE * STEPS, 0.01), (RESTARTED, 0, 0.05)):
        weights, iterations, rate = starts[name, 0]
        assert iterations == updates and rate == pytest.approx(learning_rate)
        assert all(map(np.array_equal, weights, model.get_weights()))
    for name in ("scratch-E (paper)", "scratch-B (paper)", UNIFORM):
        weights, iterations, rate = starts[name, 0]
        assert iterations == 0 and rate == pytest.approx(0.05)
        other, cut = starts[name, 1][0], starts["pruned (paper)", 0][0]
        for number in [number for number, weight in enumerate(weights) if weight.ndim > 1]:
            assert not np.isin(weights[number], other[number]).any() and not np.isin(weights[number], cut[number]).any()


def test_shapes_are_drawn_anew_but_for_what_is_not_trained(model):
    frozen = nets.randomized(nets.residual())
    frozen.get_layer("stem").trainable = False
    plan = kt.testing.random_plan(frozen, 0)
    small, anew = kt.rebuild(frozen, plan), drawn_anew(frozen, plan)
    same = {
        layer.name: all(map(np.array_equal, layer.get_weights(), anew.get_layer(layer.name).get_weights()))
        for layer in small.layers
        if layer.weights
    }
    assert same.pop("stem") and not any(same.values())
    assert [w.shape for w in small.weights] == [w.shape for w in anew.weights]
    np.testing.assert_array_equal(anew.get_layer("outer_bn").get_weights()[1], 0)  # beta, and not what it had learned


def test_uniform_shrinks_every_layer_alike(model):
    graph = kt.trace(model)
    plan = uniform(graph, graph.macs * 0.5)
    assert {name: len(plan.kept[name]) for name in ("stem", "outer", "inner")} == {"stem": 4, "outer": 4, "inner": 2}
    assert plan.after["macs"] <= graph.macs * 0.5 < uniform(graph, graph.macs * 0.9).after["macs"]
    assert {len(kept) for kept in uniform(graph, 0).kept.values()} == {1}
    assert uniform(graph, graph.macs).kept == {}


def test_a_second_call_measures_nothing_and_another_one_what_is_missing(model, study, folder, monkeypatch):
    trainings = []
    measured = _baseline_arms.Arms._made
    monkeypatch.setattr(
        _baseline_arms.Arms, "_made", lambda self, arm, seed: trainings.append((arm.name, seed)) or measured(self, arm, seed)
    )
    again = kt.studies.baseline(model, *nets.images(EXAMPLES, 3), run_dir=folder, **OPTIONS)
    assert not trainings and again == study
    path = next(
        path
        for path in folder.glob("measured/baseline-*.json")
        if (key := json.loads(path.read_text())["key"])["arm"] == "scratch-E" and key["seed"] == 1 and key["recipe"]["gentle"]
    )
    path.unlink()
    kt.studies.baseline(model, *nets.images(EXAMPLES, 3), run_dir=folder, **OPTIONS)
    assert trainings == [("scratch-E (library)", 1)]


def test_progress_is_told(told):
    lines = told[1]
    assert lines[0] == "1/21 pruned (paper), seed 0" and len(lines) == 21
    assert lines[-1] == "21/21 uniform width, seed 1, about 1 min left"


def test_a_schedule_is_not_bent(tmp_path):
    model = nets.compiled(
        nets.chain(), optimizer=keras.optimizers.SGD(keras.optimizers.schedules.ExponentialDecay(0.1, 9, 0.5))
    )
    lab = Lab(model, nets.images(8), tmp_path, examples=None, seeds=(0,), batch_size=8, verbose=0)
    options = {"before": 1, "epochs": 1, "share": 0.5, "recipes": {"library": LIBRARY}, "optimizer": model.optimizer}
    roles = [arm.role for arm in _baseline_arms.Arms(lab, nets.images(8), **options).all()]
    assert FALLING not in roles and RESTARTED in roles


def test_one_seed_says_little(study):
    values = json.loads(json.dumps(study.values))
    for arm in values["arms"]:
        arm["accuracy"] = arm["accuracy"][:1]
    answer = _baseline_shown.answer(study.settings, values)
    assert "It cannot be told: one seed has no interval" in answer[0]
    assert answer[2].count("(unclear)") == answer[3].count("(unclear)") == 3


@pytest.mark.parametrize(
    ("drops", "words"),
    [
        ([0.9, 1.0, 1.1], "yes: the interval, 0.8 to 1.2 points, is at most 2.5"),
        ([-1.1, -1.0, -0.9], "is below 0: it is a gain"),
        ([4.9, 5.0, 5.1], "no: the interval, 4.8 to 5.2 points, is above 2.5"),
        ([0.0, 2.0, 4.0], "it cannot be told: the interval, -3.0 to 7.0 points, holds 2.5"),
        ([1.0], "it cannot be told: one seed has no interval"),
        ([1.0, 1.0], "it cannot be told: the seeds are all alike"),
    ],
)
def test_the_plain_answer(drops, words):
    assert MINOR == 2.5 and words in _baseline_shown.verdict(drops)


def test_differences_are_paired(study):
    values = json.loads(json.dumps(study.values))
    accuracy = {CONTINUED: [0.90, 0.80], FALLING: [0.92, 0.82], PRUNED: [0.89, 0.79], BASE: [0.89]}
    for arm in values["arms"]:
        arm["accuracy"] = accuracy.get(arm["role"], [0.85, 0.75])
    rows = {row[0]: row for row in _baseline_shown.tables(study.settings, values)[0].rows}
    assert rows["pruned (paper)"][-1] == "-1.0 ± 0.0" and rows[CONTINUED][-1] == "" and rows[BASE][-2] == "0.890"
    answer = " ".join(_baseline_shown.answer(study.settings, values))
    assert "rate does so, too, the drop is 3.0 ± 0.0 points" in answer and answer.count("rate does so") == 1
    assert "scratch-E 4.0 ± 0.0" in answer


def test_files(study, tmp_path):
    study.save(tmp_path)
    assert {path.suffix for path in tmp_path.iterdir()} == {".json", ".md", ".png"}
    assert kt.studies.Study.load(tmp_path / "baseline.json") == study


def test_outputs_that_are_not_finite_are_wrong(model):
    x, y = OPTIONS["validation_data"]
    broken = keras.models.clone_model(model)
    broken.set_weights([np.full_like(weight, np.nan) for weight in broken.get_weights()])
    assert accuracy(broken, x, np.zeros_like(y), 16) == 0


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"epochs": 0}, BadInput, "epochs must be a whole number of at least 1. Received: 0"),
        ({"epochs_before": 0}, BadInput, "epochs_before must be a whole number of at least 1. Received: 0"),
        ({"seeds": (1, 1)}, BadInput, "seeds must be different"),
        ({"share": 1.0}, BadInput, "between 0 and 1"),
        ({"share": 1e-6}, InfeasibleTarget, "macs"),
        ({"validation_data": None}, BadInput, "validation_data must be given"),
        ({"recipes": {}}, BadInput, "recipes must map names to recipes"),
        ({"recipes": {"mine": "papr"}}, BadInput, "recipe must be a kt.Recipe"),
        ({"recipes": {"mine": kt.Recipe(schedule=kt.Schedule.linear(9))}}, BadInput, "epochs must cover the schedule"),
        ({"recipes": {"mine": kt.Recipe(constraints=kt.Constraints(keep=["nix"]))}}, kt.errors.UnknownName, "nix"),
        ({"optimizer": "adam"}, BadInput, "optimizer must be a keras optimizer"),
        ({"batch_size": 0}, BadInput, "batch_size must be"),
    ],
)
def test_bad_options(model, tmp_path, change, error, message):
    with pytest.raises(error, match=message):
        kt.studies.baseline(model, nets.images(EXAMPLES, 3), run_dir=tmp_path / "new", **OPTIONS | change)
    assert not list(tmp_path.rglob("baseline-*"))


def test_bad_models_and_folders(model, folder, study, tmp_path):
    data = nets.images(EXAMPLES, 3)
    with pytest.raises(BadInput, match="must be compiled"):
        kt.studies.baseline(nets.residual(), data, run_dir=tmp_path, **OPTIONS)
    with pytest.raises(BadInput, match="epochs_before must be given where the optimizer counted no updates"):
        kt.studies.baseline(nets.compiled(nets.residual()), data, run_dir=tmp_path, **OPTIONS)
    with pytest.raises(BadInput, match=r"data\.content was"):
        kt.studies.baseline(model, nets.images(EXAMPLES, 3, seed=9), run_dir=folder, **OPTIONS)
    with pytest.raises(BadInput, match=r"settings\.examples was absent and is 16"):
        kt.studies.correlation(model, data, run_dir=folder, examples=16, batch_size=BATCH, verbose=0)
    assert not list(tmp_path.rglob("baseline-*"))
