"""`kt.studies.blend`: a weight chosen inside the training set."""

import json

import keras
import numpy as np
import pytest

import keras_taylor as kt
from keras_taylor.errors import BadInput, InfeasibleTarget, KerasTaylorError
from keras_taylor.studies import _blend as module
from keras_taylor.studies import _blend_shown, _lab
from keras_taylor.studies._masked import Masked
from tests import nets

INF = float("inf")
X = nets.images(72)[0]
Y = np.arange(72) % 3
DATA, VALIDATION = (X[:48], Y[:48]), (X[48:], Y[48:])
SHARES, SEEDS, WEIGHTS, FOLDS = (0.8, 0.5), (0, 1), (INF, 0, 1.0), 2


def net():
    return nets.compiled(nets.residual())


def studied(folder, model=None, **options):
    options = {"validation_data": VALIDATION, "shares": SHARES, "seeds": SEEDS, "examples": 24, "verbose": 0, **options}
    options = {"weights": WEIGHTS, "folds": FOLDS, **options}
    return kt.studies.blend(model or net(), options.pop("data", DATA), run_dir=folder, **options)


def score(model, rows, criterion):
    return kt.score(model, X[rows], Y[rows], criterion=criterion, batch_size=64)


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    keras.utils.set_random_seed(0)
    folder = tmp_path_factory.mktemp("blend")
    model = net()
    study = studied(folder, model)
    return folder, study, _lab.Lab(model, DATA, folder, examples=24, seeds=(0, 1), batch_size=64, verbose=0)


def test_folds_are_stratified():
    classes = np.repeat([0, 1, 2], [30, 20, 10])
    rows = np.random.default_rng(0).permutation(60)
    cut = module.stratified(classes, rows, 5, 0)
    assert len(cut) == 5
    for train, held in cut:
        assert np.bincount(classes[held]).tolist() == [6, 4, 2] and not set(train) & set(held)
        assert sorted([*train, *held]) == list(range(60))
    assert sorted(np.concatenate([held for _, held in cut])) == list(range(60))


def test_zero_is_taylor_and_infinity_is_activation(first):
    _, _, lab = first
    rows = lab.sample(0)
    scores = lab.scores(module.PARTS, 0)
    for weight, criterion in ((0.0, "taylor"), (INF, "activation"), (0.7, kt.criteria.Blend(0.7))):
        plan = kt.plan(score(lab.model, rows, criterion), kt.Target(macs=0.5))
        np.testing.assert_array_equal(module._mask(lab, scores, weight, 0.5, "saving"), _lab.to_mask(lab.graph, plan))
    masks = module._final_masks(lab, 0, 1.0, 0.5, "saving")
    assert not np.array_equal(masks["Taylor"], masks["activation"])  # else this tests nothing


def test_held_out_numbers_are_of_scores_from_the_other_folds(first):
    _, study, lab = first
    found = study.values["shares"]["0.5"]
    assert found["weights"] == ["0", "1", "inf"]  # in ascending order
    for number, (train, held) in enumerate(module.stratified(Y[:48], lab.sample(1), FOLDS, 1)):
        for column, criterion in enumerate(("taylor", kt.criteria.Blend(1.0), "activation")):
            plan = kt.plan(score(lab.model, train, criterion), kt.Target(macs=0.5))
            mask = _lab.to_mask(lab.graph, plan)
            loss, accuracy = lab.masked.evaluate(X[held], Y[held], mask)
            assert found["held-out loss"][1][column][number] == pytest.approx(loss)
            assert found["held-out accuracy"][1][column][number] == pytest.approx(accuracy)


def test_the_choice_has_the_least_loss(first):
    _, study, _ = first
    for found in study.values["shares"].values():
        for losses, accuracies, chosen, held in zip(
            found["held-out loss"],
            found["held-out accuracy"],
            found["chosen"],
            found["held-out accuracy of the chosen"],
            strict=True,
        ):
            means = [np.mean(one) for one in losses]
            assert found["weights"].index(chosen) == means.index(min(means))
            assert held == pytest.approx(np.mean(accuracies[means.index(min(means))]))


def test_of_equal_losses_the_smallest_weight_is_chosen(tmp_path, monkeypatch):
    monkeypatch.setattr(Masked, "evaluate", lambda self, x, y, keep: (1.0, 0.5))
    study = studied(tmp_path)
    assert all(found["chosen"] == ["0", "0"] for found in study.values["shares"].values())
    assert "Cross-validation chose lambda = 0 every time" in " ".join(study.answer)


def test_the_test_is_of_scores_from_the_whole_sample(first):
    _, study, lab = first
    for share in SHARES:
        found = study.values["shares"][f"{share:g}"]
        for number, seed in enumerate(SEEDS):
            weight = float(found["chosen"][number])
            kinds = {"chosen": kt.criteria.Blend(weight), "Taylor": "taylor", "activation": "activation"}
            for name, criterion in kinds.items():
                plan = kt.plan(score(lab.model, lab.sample(seed), criterion), kt.Target(macs=share))
                loss, accuracy = lab.masked.evaluate(*VALIDATION, _lab.to_mask(lab.graph, plan))
                assert found["test"][number][name] == {"loss": pytest.approx(loss), "accuracy": pytest.approx(accuracy)}
        gaps = study.values["chosen less lambda=0"][f"{share:g}"]["loss"]
        assert gaps == pytest.approx([one["chosen"]["loss"] - one["Taylor"]["loss"] for one in found["test"]])


def test_validation_data_is_looked_at_only_after_the_choice(tmp_path, monkeypatch):
    seen, evaluate = [], Masked.evaluate

    def spied(self, x, y, keep, *rest):
        seen.append(np.array_equal(x, VALIDATION[0]))
        return evaluate(self, x, y, keep, *rest)

    monkeypatch.setattr(Masked, "evaluate", spied)
    studied(tmp_path)
    folds = seen.index(True)
    assert all(seen[folds:]) and folds >= len(SEEDS) * FOLDS * len(SHARES) and len(seen) - folds <= 1 + 3 * 2 * 2


def test_equal_masks_are_evaluated_once(tmp_path, monkeypatch):
    seen, evaluate = [], Masked.evaluate

    def spied(self, x, y, keep, *rest):
        seen.append((len(x), x.sum(), keep.tobytes()))
        return evaluate(self, x, y, keep, *rest)

    monkeypatch.setattr(Masked, "evaluate", spied)
    studied(tmp_path, weights=(0, 1e-12, 2e-12, INF))
    assert len(seen) == len(set(seen)) < 2 * 2 * 2 * 4


def differences(accuracy, loss, chosen="0.1"):
    found = {"accuracy": accuracy, "loss": loss}
    return " ".join(_blend_shown.verdict({"0.8": {"chosen": [chosen] * len(accuracy)}}, {"0.8": found, "mean": found}))


def test_the_answer_follows_the_numbers():
    up, down, noise = [0.01, 0.011, 0.012], [-0.01, -0.011, -0.012], [0.01, -0.012, 0.001]
    text = differences(up, down)
    assert "A gain in accuracy" in text and "In loss it is a gain." in text and "80 % of the MACs a gain" in text
    text = differences(down, up)
    assert "A loss in accuracy" in text and "In loss it is a loss." in text and "80 % of the MACs a loss" in text
    text = differences(noise, noise)
    assert "null result" in text and "In loss" not in text and "At no single share" in text
    assert "One sample gives no interval" in differences([0.01], [0.01])
    assert "activations add nothing" in differences([0.0, 0.0], [0.0, 0.0], chosen="0")


def test_nothing_is_measured_twice(first, monkeypatch):
    folder, study, _ = first

    def fail(*args, **kwargs):
        raise AssertionError("measured again")

    monkeypatch.setattr(_lab, "score_all", fail)
    monkeypatch.setattr(Masked, "evaluate", fail)
    again = studied(folder)
    assert again.values == study.values and again.to_markdown() == study.to_markdown()
    with pytest.raises(AssertionError, match="measured again"):
        studied(folder, folds=3)


def test_files(first, tmp_path):
    _, study, _ = first
    study.save(tmp_path)
    stored = json.loads((tmp_path / "blend.json").read_text(), parse_constant=lambda name: pytest.fail(name))
    assert stored["study"] == "blend" and stored["values"] == json.loads(json.dumps(study.values))
    text = (tmp_path / "blend.md").read_text()
    found = study.values["shares"]["0.5"]
    losses = np.array(found["held-out loss"])
    assert f"| inf | {losses[:, 2].mean():.4f} | {losses[:, 2].std(axis=-1, ddof=1).mean():.4f} |" in text
    assert f"| 50 % | {', '.join(found['chosen'])} |" in text
    assert all(line in text for line in study.answer) and "nan" not in text
    assert "the net was trained on the images of the folds" in text
    assert (tmp_path / "blend.png").read_bytes().startswith(b"\x89PNG")
    assert kt.studies.Study.load(tmp_path / "blend.json") == study
    assert "Taylor blended with activation" in str(study)


FEW = np.where(np.arange(48) < 46, Y[:48] % 2, 2)  # two examples of the last class


@pytest.mark.parametrize(
    ("options", "kind", "text"),
    [
        ({"weights": (0, -1)}, BadInput, "weights must be different numbers of at least 0"),
        ({"weights": (1, 1.0)}, BadInput, "weights must be different"),
        ({"weights": (float("nan"),)}, BadInput, "weights must be different"),
        ({"shares": (1.5,)}, BadInput, "shares must be different"),
        ({"shares": (1e-6,)}, InfeasibleTarget, "smallest reachable"),
        ({"rank": "best"}, BadInput, "rank must be 'saving' or 'score'"),
        ({"folds": 1}, BadInput, "folds must be a whole number of at least 2"),
        ({"seeds": ()}, BadInput, "seeds must be different, and at least one"),
        ({"folds": 12}, BadInput, r"Received: \d+ of class 0 with seed 0 and 12 folds. Raise examples, or lower folds"),
        (
            {"data": (X[:48], FEW), "examples": 48, "folds": 3, "seeds": (0,)},
            BadInput,
            "Received: 2 of class 2 with seed 0 and 3 folds",
        ),
        ({"data": (X[:48], FEW)}, BadInput, "no example of class 2 among the 24 of seed 0. Raise examples"),
        ({"validation_data": X}, BadInput, "labels"),
    ],
)
def test_bad_input_is_an_error_before_any_work(tmp_path, monkeypatch, options, kind, text):
    def fail(*args, **kwargs):
        raise AssertionError("worked")

    monkeypatch.setattr(_lab, "score_all", fail)
    monkeypatch.setattr(Masked, "evaluate", fail)
    assert issubclass(kind, KerasTaylorError)
    with pytest.raises(kind, match=text):
        studied(tmp_path, **options)
