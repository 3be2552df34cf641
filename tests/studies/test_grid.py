"""Study D: both networks on both data sets; here with tiny nets in their places, which trace quickly."""

import contextlib
import io
import itertools
import json
import math

import keras
import numpy as np
import pytest

import keras_taylor as kt
from keras_taylor.errors import BadInput, NonFiniteScores, UnknownName
from keras_taylor.studies import GridData, GridRecipe, _grid_arms, _grid_cells, _grid_net, _grid_recipe, _grid_training
from keras_taylor.studies._batches import Batches
from keras_taylor.studies._grid_answer import answer
from keras_taylor.studies._grid_cells import in_epochs
from keras_taylor.studies._grid_panel import Panel
from keras_taylor.studies._grid_paper import CORRELATIONS, published
from keras_taylor.studies._grid_shown import tables
from keras_taylor.studies._pixels import centred

SIZE, TRAIN, TEST, MAPS = 32, 24, 10, 14
RECIPE = GridRecipe(
    epochs=1,
    learning_rate=0.01,
    updates=2,
    pruning_rate=0.01,
    maps=4,
    every=1,
    until=0.4,
    batch_size=8,
    examples=8,
    oracle_examples=8,
    library_steps=2,
    cosine=True,
)
ARMS = ["taylor", "random", "library", "unpruned"]


MADE = _grid_net.Net.made


def tiny(self, classes):
    """A stand-in for both nets: two convolutions and a hidden Dense layer."""
    inputs = keras.Input((SIZE, SIZE, 3))
    x = keras.layers.Conv2D(6, 3, strides=4, activation="relu", name="conv1")(centred(inputs, 58.0))
    x = keras.layers.Conv2D(8, 3, activation="relu", name="conv2")(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    x = keras.layers.Dense(5, activation="relu", name="fc")(x)
    return keras.Model(inputs, keras.layers.Dense(classes, name="logits")(x), name=self.name)


def images(count, classes=3, seed=0, size=SIZE):
    rng = np.random.default_rng(seed)
    y = np.arange(count) % classes
    x = rng.integers(0, 100, (count, size, size, 3)).astype("uint8")
    for number, one in enumerate(y):
        x[number, :, :, one % 3] += 100
    return x, y


def data(seed=0, classes=3):
    return GridData(images(TRAIN, classes, seed), images(TEST, classes, seed + 1))


@pytest.fixture(scope="module", autouse=True)
def tiny_nets():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_grid_net.Net, "made", tiny)
        yield


OPTIONS = {"criteria": ARMS, "recipe": {"alexnet": RECIPE, "vgg16": RECIPE}, "size": SIZE, "verbose": 2}


QUICK = {**OPTIONS, "criteria": ["magnitude"], "changed": {"oracle_examples": 0, "maps": 8}, "verbose": 0}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("grid")


@pytest.fixture(scope="module")
def told(folder, tiny_nets):
    text = io.StringIO()
    with contextlib.redirect_stdout(text):
        study = kt.studies.grid({"flowers": data()}, run_dir=folder, nets=["alexnet"], seeds=(1,), **OPTIONS)
    return study, text.getvalue().splitlines()


@pytest.fixture(scope="module")
def study(told):
    return told[0]


@pytest.fixture(scope="module")
def panel(study):
    return study.values["panels"][0]


def test_maps_go_a_few_at_a_time_and_only_maps(panel):
    assert panel["maps"] == MAPS
    for arm in ("taylor", "random"):
        for curve in panel["arms"][arm]:
            assert [point["maps"] for point in curve] == [point["at"] for point in curve] == [14, 10, 6]
            assert [point["updates"] for point in curve] == [0, 2, 4]
            assert curve[0]["macs"] == panel["macs"] > curve[1]["macs"] > curve[2]["macs"]


def test_the_unpruned_net_is_trained_for_as_long(panel):
    for curve in panel["arms"]["unpruned"]:
        assert [point["updates"] for point in curve] == [0, 2, 4] and {point["maps"] for point in curve} == {MAPS}
        assert [point["at"] for point in curve] == [14, 10, 6]


def test_the_library_has_as_many_updates(panel):
    for curve in panel["arms"]["library"]:
        assert [point["updates"] for point in curve] == [0, 2, 4]  # each less than an epoch, which has 3
        assert all(b["macs"] <= 0.6 * a["macs"] for a, b in itertools.pairwise(curve))


@pytest.mark.parametrize(
    ("updates", "whole", "expected"), [(2, 3, (1, 2)), (3, 3, (1, 3)), (135, 93, (2, 68)), (460, 63, (8, 58))]
)
def test_updates_in_epochs_of_one_length(updates, whole, expected):
    epochs, most = in_epochs(updates, whole)
    assert (epochs, most) == expected and most <= whole and abs(epochs * most - updates) <= epochs / 2


def test_all_arms_of_a_seed_start_from_one_net(panel):
    assert {curves[0][0]["accuracy"] for curves in panel["arms"].values()} == {panel["base accuracy"][0]}


def test_points_have_their_standard_error(panel):
    for point in panel["arms"]["taylor"][0]:
        assert point["standard error"] == math.sqrt(point["accuracy"] * (1 - point["accuracy"]) / TEST)


def test_the_trained_net_is_kept_and_can_be_studied_further(folder, study, panel):
    paths = sorted((folder / "bases").glob("*.keras"))
    assert len(paths) == 1 and paths[0].name.startswith("alexnet-flowers-1-")
    model = keras.models.load_model(paths[0])
    x, y = images(TEST, 3, 1)
    assert np.mean(model.predict(x, verbose=0).argmax(-1) == y) == panel["base accuracy"][0]
    assert int(model.optimizer.iterations) == panel["updates before"] == TRAIN // RECIPE.batch_size


def test_correlations_are_those_of_the_maps(panel):
    found = panel["correlations"]
    assert set(found) == {"magnitude", "activation", "activation_std", "apoz", "taylor", "obd", "taylor_gate", "random"}
    assert len(found["taylor"]["per layer"]) == len(found["taylor"]["split-half"]) == 1 and not found["magnitude"]["split-half"]


def test_a_second_call_computes_nothing_and_another_what_is_missing(folder, study, monkeypatch):
    computed = []
    for name in ("_base", "_arm", "_correlation"):
        made = getattr(_grid_cells.Cells, name)
        monkeypatch.setattr(
            _grid_cells.Cells, name, lambda self, cell, made=made: computed.append((cell.arm, cell.seed)) or made(self, cell)
        )
    again = kt.studies.grid({"flowers": data()}, run_dir=folder, nets=["alexnet"], seeds=(1,), **OPTIONS)
    assert not computed and again == study
    path = next(
        path
        for path in folder.glob("measured/grid-*.json")
        if (key := json.loads(path.read_text())["key"])["arm"] == "random" and key["seed"] == 1
    )
    before = json.loads(path.read_text())["value"]["curve"]
    path.unlink()
    kt.studies.grid({"flowers": data()}, run_dir=folder, nets=["alexnet"], seeds=(1,), **OPTIONS)
    assert computed == [("random", 1)] and json.loads(path.read_text())["value"]["curve"] == before


def test_progress_is_told(told):
    lines = told[1]
    assert lines[0] == "1/6 AlexNet on flowers, seed 1: training"
    assert any(line.startswith("6/6 AlexNet on flowers, seed 1: unpruned, N + M, about 1 min left") for line in lines)


def test_no_test_image_chooses_anything(tmp_path):
    """Other test images change what is measured, and nothing else."""
    nets = []
    for number in (0, 1):
        given = GridData(images(TRAIN), images(TEST, seed=70 + number))
        kt.studies.grid({"mine": given}, run_dir=tmp_path / str(number), nets=["vgg16"], **QUICK)
        (path,) = tmp_path.glob(f"{number}/bases/*.keras")
        curves = [json.loads(path.read_text())["value"].get("curve") for path in tmp_path.glob(f"{number}/measured/*.json")]
        nets.append(
            (keras.models.load_model(path).get_weights(), [point["macs"] for curve in curves if curve for point in curve])
        )
    assert all(map(np.array_equal, nets[0][0], nets[1][0])) and nets[0][1] == nets[1][1] != []


def test_files(study, folder, tmp_path):
    study.save(folder)  # nothing that the folder needs is written over
    kt.studies.grid({"flowers": data()}, run_dir=folder, nets=["alexnet"], seeds=(1,), **OPTIONS)
    study.save(tmp_path)
    assert {path.suffix for path in tmp_path.iterdir()} == {".json", ".md", ".png"}
    again = kt.studies.Study.load(tmp_path / "grid.json")
    assert again == study and again.to_markdown() == study.to_markdown()
    text = study.to_markdown()
    for words in ("Small nets, trained from scratch", "One panel cannot tell", "the paper's", "Split-half"):
        assert words in text


def made_panel(net="alexnet", name="flowers", seeds=2, **means):
    """A panel whose curves fall along a line to these accuracies."""
    rng = np.random.default_rng(0)
    arms = {}
    for arm, (end, noise) in means.items():
        arms[arm] = []
        for _ in range(seeds):
            shift = noise * rng.normal()
            points = [{"maps": m, "at": m, "macs": 10 * m, "updates": 100 - m, "standard error": 0.01} for m in (100, 50, 10)]
            for point, accuracy in zip(points, (0.9, (0.9 + end) / 2 + shift, end + shift), strict=True):
                point["accuracy"] = accuracy
            arms[arm].append(points)
    shape = {"classes": 3, "training images": 100, "test images": 1000, "size": 64, "width": 0.25, "pretrained": False}
    cost = {"maps": 100, "macs": 1000, "updates before": 5, "until": 0.1, "oracle images": 8}
    return {"net": net, "data": name, **shape, **cost, "base accuracy": [0.9] * seeds, "correlations": {}, "arms": arms}


SETTINGS = {"seeds": [0, 1]}


def test_panel_reads_its_curves():
    panel = Panel(made_panel(taylor=(0.5, 0.0), unpruned=(0.9, 0.0)))
    assert panel.accuracy("taylor", 1.0) == [0.9, 0.9]
    np.testing.assert_allclose(panel.accuracy("taylor", 0.3), [0.6, 0.6])
    np.testing.assert_allclose(panel.accuracy("taylor", 0.3, "macs"), [0.6, 0.6])
    assert panel.accuracy("taylor", 0.05) == []
    np.testing.assert_allclose(
        panel.mean("taylor")[0], np.mean(np.interp(np.arange(0.9, 0.05, -0.1), [0.1, 0.5, 1], [0.5, 0.7, 0.9]))
    )


def test_one_seed_has_the_interval_of_its_test_images():
    panel = Panel(made_panel(seeds=1, taylor=(0.5, 0.0), random=(0.3, 0.0)))
    mean, half = panel.difference("taylor", "random")
    a, b = panel.mean("taylor")[0], panel.mean("random")[0]
    assert mean == pytest.approx(a - b)
    assert half == pytest.approx(1.96 * math.sqrt((a * (1 - a) + b * (1 - b)) / 1000))


@pytest.mark.parametrize(
    ("second", "words"),
    [
        ({"taylor": (0.6, 0.001), "random": (0.2, 0.001)}, "Yes; 2 of 2"),
        (
            {"taylor": (0.2, 0.001), "random": (0.6, 0.001)},
            "No: random is above Taylor for VGG-16 on birds and below for AlexNet",
        ),
        ({"taylor": (0.5, 0.3), "random": (0.501, 0.3)}, "no two criteria change places by more than their intervals; 1 of 2"),
    ],
)
def test_the_answer_to_question_d(second, words):
    first = made_panel(taylor=(0.6, 0.001), random=(0.3, 0.002))
    found = answer(SETTINGS, {"panels": [first, made_panel("vgg16", "birds", **second)]})
    assert words in found[1]


def test_one_criterion_in_all_panels_has_no_order():
    panels = [made_panel(taylor=(0.6, 0.0)), made_panel("vgg16", "birds", taylor=(0.5, 0.0), random=(0.3, 0.0))]
    text = answer(SETTINGS, {"panels": panels})[1]
    assert "cannot tell" in text and "Yes" not in text and "Not in all panels, since a curve ends early: random" in text


def test_the_control_speaks_or_the_page_says_that_it_does_not():
    clear, equal = made_panel(taylor=(0.6, 0.001), random=(0.3, 0.002)), made_panel(taylor=(0.6, 0.3), random=(0.61, 0.001))
    assert "AlexNet on flowers: yes, Taylor has" in answer(SETTINGS, {"panels": [clear]})[2]
    assert "AlexNet on flowers: NO" in answer(SETTINGS, {"panels": [equal]})[2]


def test_what_half_of_the_maps_cost():
    one = made_panel(taylor=(0.5, 0.0), unpruned=(0.4, 0.0))
    found = answer(SETTINGS, {"panels": [one]})[-1]
    assert "Taylor is 20.0 ± 0.0 points below the net before pruning, and 5.0 ± 0.0 points above the unpruned one" in found


def test_the_papers_points_are_labelled():
    values = {"panels": [made_panel(taylor=(0.6, 0.0)), made_panel("vgg16", "birds", taylor=(0.6, 0.0))]}
    made = tables(SETTINGS, values)
    beside = [table for table in made if "the paper's points" in table.caption]
    assert [row[3] for row in beside[0].rows] == ["80.1", "79.8", "74.1"] and [row[3] for row in beside[1].rows] == ["72.2"]
    assert beside[0].rows[1][1:3] == ["41 %", "27.4 %"] and beside[0].rows[1][0] == "the paper's"
    assert not published("vgg16", "flowers")
    assert len(CORRELATIONS) == 4 and CORRELATIONS["vgg16", "birds"]["taylor"] == (0.73, 0.14, 0.73)


def test_pretrained_nets_are_not_called_small():
    one = made_panel(taylor=(0.6, 0.0)) | {"pretrained": True}
    assert answer(SETTINGS, {"panels": [one]})[0].startswith("All nets start from ImageNet's weights, as in the paper")
    scratch = made_panel("vgg16", taylor=(0.6, 0.0))
    found = answer(SETTINGS, {"panels": [one, scratch]})[0]
    assert found.startswith("Small nets") and "as these do here: AlexNet on flowers" in found
    full = scratch | {"width": 1.0, "size": 224}
    assert answer(SETTINGS, {"panels": [full]})[0].startswith("Nets, trained from scratch")


def test_recipes_are_those_of_the_paper():
    for net, epochs, rate, updates in (("alexnet", 20, 1e-3, 10), ("vgg16", 60, 1e-4, 30)):
        recipe = _grid_recipe.RECIPES["paper"][net]
        assert (recipe.epochs, recipe.learning_rate, recipe.updates, recipe.maps) == (epochs, rate, updates, 1)
        assert (recipe.pruning_rate, recipe.momentum, recipe.weight_decay, recipe.batch_size) == (1e-4, 0.9, 1e-4, 32)
        assert not recipe.cosine and recipe.removals(100) == 90


def test_batches_are_whole_and_the_same_again():
    x, y = images(10)
    first, again = (Batches(x, y, 4, 3, True) for _ in range(2))
    assert len(first) == 2 and len(Batches(x, y, 4, 3, True, most=1)) == 1
    stream, same = first.endless(), again.endless()
    seen = [next(stream) for _ in range(5)]
    assert all(np.array_equal(a, b) for one, other in zip(seen, same, strict=False) for a, b in zip(one, other, strict=True))
    assert {one[0].shape for one in seen} == {(4, SIZE, SIZE, 3)} and seen[0][0].dtype == np.float32
    plain = Batches(x, y, 10, 0, False)
    rows = [next(row for row in range(10) if np.array_equal(x[row], image)) for image in plain[0][0]]
    assert sorted(rows) == list(range(10)) and np.array_equal(y[rows], plain[0][1])


def test_the_rate_rises_and_falls():
    rate = _grid_training.cosine(1.0, 100)
    assert rate(0) == pytest.approx(0.1) and rate(10) == 1.0 and rate(99) < 0.001


def test_a_training_that_diverges_is_an_error(tmp_path):
    with pytest.raises(NonFiniteScores, match=r"Lower it \(learning_rate, pruning_rate\)"):
        kt.studies.grid(
            {"flowers": data()}, run_dir=tmp_path, nets=["alexnet"], changed={"learning_rate": 1e30, "epochs": 30}, **OPTIONS
        )
    assert not list(tmp_path.glob("measured/*"))


def test_needs():
    needs = kt.studies.grid_needs(
        {"oxford_flowers102": data(), "mine": data()},
        nets=["alexnet"],
        **{name: one for name, one in OPTIONS.items() if name != "verbose"},
    )
    named, own = needs.panels
    assert (named["training images"], named["test images"]) == (2040, 6149) and own["training images"] == TRAIN
    assert own["maps"] == MAPS and own["removals"] == 3 - 1
    assert set(own["hours"]) == {"base", "correlation", *ARMS} and all(hours > 0 for hours in own["hours"].values())
    assert named["hours"]["base"] > own["hours"]["base"]
    assert needs.hours == pytest.approx(sum(sum(panel["hours"].values()) for panel in needs.panels))
    assert "hours on this machine" in str(needs) and "AlexNet on mine" in str(needs)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"nets": ["resnet"]}, UnknownName, "net must be a known name"),
        ({"nets": ["vgg16", "vgg16"]}, BadInput, "nets must be different"),
        ({"criteria": ["tailor"]}, UnknownName, "Did you mean 'taylor'"),
        ({"criteria": ["taylor", "taylor"]}, BadInput, "criteria must be different"),
        ({"criteria": "taylor"}, BadInput, "criteria must be a list"),
        ({"seeds": (1, 1)}, BadInput, "seeds must be different"),
        ({"recipe": "papr"}, UnknownName, "Did you mean 'paper'"),
        ({"recipe": {"vgg16": RECIPE}}, BadInput, "for each net"),
        ({"recipe": "paper"}, BadInput, r"weights must be given.*alexnet=none"),
        ({"weights": {"alexnet": "imagenet"}}, BadInput, "a file for alexnet"),
        ({"weights": {"vgg16": "none.npz"}}, BadInput, "a file that exists"),
        ({"changed": {"epochs": 0}}, BadInput, "epochs must be a whole number of at least 1. Received: 0"),
        ({"changed": {"updates": 0}}, BadInput, "updates must be a whole number of at least 1. Received: 0"),
        ({"changed": {"until": 1.0}}, BadInput, "until must be a share"),
        ({"changed": {"maps": 1.5}}, BadInput, "maps"),
        ({"changed": {"until": "0.1"}}, BadInput, "until must be a share"),
        ({"changed": {"momentum": 1.5}}, BadInput, "momentum must be a number from 0 on, below 1"),
        ({"changed": {"weight_decay": -1}}, BadInput, "weight_decay must be a number from 0 on"),
        ({"changed": {"epoch": 5}}, UnknownName, "Did you mean 'epochs'"),
        ({"width": 0}, BadInput, "width must be"),
        ({"data": {}}, BadInput, "data must map names"),
        ({"data": {"a": images(4)}}, BadInput, "data must map names"),
    ],
)
def test_bad_options(tmp_path, change, error, message):
    options = {"data": {"flowers": data()}, "nets": ["alexnet"], **OPTIONS} | change
    with pytest.raises(error, match=message):
        kt.studies.grid(options.pop("data"), run_dir=tmp_path / "new", **options)
    assert not list(tmp_path.rglob("*.json"))


def test_a_net_that_cannot_be_built_is_found_before_any_work(tmp_path):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_grid_net.Net, "made", MADE)
        with pytest.raises(BadInput, match="size must be a whole number of at least 64"):
            kt.studies.grid(
                {"flowers": data()}, run_dir=tmp_path, nets=["vgg16", "alexnet"], recipe="small", width=0.02, size=32, verbose=0
            )
    assert not list(tmp_path.rglob("*"))


def test_a_folder_of_another_grid(folder, study):
    with pytest.raises(BadInput, match=r"run_dir must hold a grid .*recipes\.alexnet\.updates was 2 and is 3"):
        kt.studies.grid({"flowers": data()}, run_dir=folder, nets=["alexnet"], changed={"updates": 3}, **OPTIONS)


def test_other_classes_than_the_head():
    x, y = images(12)
    with pytest.raises(BadInput, match="3 classes to train, and class 4 in the data"):
        GridData((x, y), (x, y + 2))
    with pytest.raises(BadInput, match="2 classes to train, and class 2"):
        GridData((x, y), (x, y), classes=2)
    assert GridData((x, np.eye(3)[y]), (x, y)).train[1].tolist() == y.tolist()
    for wrong, message in (((x / 255, y), "uint8"), ((x[..., :1], y), "uint8"), ((x, y[:3]), "one class of 0"), (x, "a pair")):
        with pytest.raises(BadInput, match=message):
            GridData(wrong, (x, y))


def test_images_are_resized():
    x, y = images(3, size=64)
    found = GridData((x, y), (x, y)).at(16)
    assert found.train[0].shape == (3, 16, 16, 3) and found.train[0].dtype == np.uint8
    assert abs(found.train[0].mean() - x.mean()) < 1


def test_arms_are_known():
    assert set(_grid_arms.TITLES) == set(_grid_arms.ARMS)
