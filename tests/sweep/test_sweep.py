"""`kt.sweep`: pruning and precision on one axis, resumable row by row."""

import csv
import json
from dataclasses import asdict, replace

import keras
import numpy as np
import pytest

import keras_taylor as kt
from keras_taylor._sweep import grid as module
from keras_taylor._sweep import quantize_while_pruning as joint
from keras_taylor.errors import BadInput, InfeasibleTarget, UnknownName
from keras_taylor.quantizers import Int8PTQ, Int8QAT
from tests import nets

layers = keras.layers


def net(name="small"):
    keras.utils.set_random_seed(0)
    x = inputs = keras.Input((8, 8, 3), name="image")
    x = layers.Conv2D(8, 3, use_bias=False, name="conv1")(x)
    x = layers.ReLU(name="relu1")(layers.BatchNormalization(name="bn")(x))
    x = layers.Dropout(0.2, name="drop")(layers.Conv2D(8, 3, activation="relu", name="conv2")(x))
    x = layers.Dense(2, name="logits")(layers.GlobalAveragePooling2D(name="pool")(x))
    model = keras.Model(inputs, x, name=name)
    model.compile(keras.optimizers.Adam(1e-3), nets.CROSS_ENTROPY)
    return model


X, Y = nets.images(64)
DATA, VALIDATION = (X[:48], Y[:48]), (X[48:], Y[48:])
SMALL = {"targets": (1.0, 0.5), "quantizers": ("float32", "int8_ptq"), "epochs": 1, "examples": 16, "batch_size": 16}
SMALL |= {"validation_data": VALIDATION, "runs": 2, "verbose": 0, "repair": None}


def swept(folder, model=None, data=DATA, **options):
    return kt.sweep(model or net(), data, run_dir=folder, **nets.with_recipe({**SMALL, **options}))


def lasting(table):
    """The rows without what a clock measured."""
    clocks = {"seconds": 0, "training_seconds": 0, "latency_ms": 0, "latency_q1_ms": 0, "latency_q3_ms": 0}
    return [replace(row, **clocks) for row in table.rows]


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sweep")
    return folder, swept(folder)


def test_rows_say_what_was_measured(first):
    folder, table = first
    graph = kt.trace(net())
    assert [(r.target, r.quantizer) for r in table.rows] == [(t, q) for t in (1.0, 0.5) for q in ("float32", "int8_ptq")]
    assert table.rows[0].relative_bops == 1 and table.rows[0].macs == graph.macs
    for row in table.rows:
        assert row.macs <= row.target * graph.macs and row.examples == 16
        assert (folder / row.path).stat().st_size == row.bytes > row.gzip_bytes
        assert row.latency_q1_ms <= row.latency_ms <= row.latency_q3_ms
        assert (row.weight_bits, row.activation_bits) == ((32, 32) if row.quantizer == "float32" else (8, 8))
        stored = json.loads((folder / "rows" / f"{(folder / row.path).stem}.json").read_text())
        assert stored == asdict(row)
    float_rows = [row for row in table.rows if row.quantizer == "float32"]
    assert all(abs(row.accuracy - row.float_accuracy) < 1e-6 for row in float_rows)


def test_the_unpruned_model_is_trained_on_and_the_given_one_is_not_changed(tmp_path):
    model = net()
    before = nets.state(model)
    swept(tmp_path, model, targets=(1.0,), quantizers=("float32",))
    nets.assert_same_state(before, nets.state(model))
    trained = keras.models.load_model(tmp_path / "models" / "macs1.0-seed0" / "model.keras")
    assert np.abs(trained.get_layer("conv1").kernel - model.get_layer("conv1").kernel).max() > 0
    swept(tmp_path / "b", model, targets=(1.0,), quantizers=("float32",), epochs=0)
    same = keras.models.load_model(tmp_path / "b" / "models" / "macs1.0-seed0" / "model.keras")
    np.testing.assert_array_equal(same.get_layer("conv1").kernel, model.get_layer("conv1").kernel)


class Stop(Exception):
    """Stands for a killed process."""


def stop_at(monkeypatch, where, name, call):
    """The call of that number of `where.name` stops everything."""
    whole, calls = getattr(where, name), []

    def stopping(*args, **kwargs):
        calls.append(name)
        if len(calls) == call:
            raise Stop
        return whole(*args, **kwargs)

    monkeypatch.setattr(where, name, stopping)


@pytest.mark.parametrize(
    ("where", "name", "call", "rows"),
    [
        (module, "fit_with_pruning", 2, 2),  # while the first pruned model is trained
        (module, "measure", 2, 1),  # in the middle of a row
        (module.SweepFolder, "store", 4, 3),  # between two rows
    ],
)
def test_a_stopped_sweep_goes_on_to_the_same_rows(first, tmp_path, monkeypatch, where, name, call, rows):
    with monkeypatch.context() as patched:
        stop_at(patched, where, name, call)
        with pytest.raises(Stop):
            swept(tmp_path)
    assert len(list((tmp_path / "rows").iterdir())) == rows
    measured = []
    whole = module.measure
    monkeypatch.setattr(module, "measure", lambda *args, **kwargs: measured.append(args) or whole(*args, **kwargs))
    again = swept(tmp_path)
    assert lasting(again) == lasting(first[1])
    assert len(measured) == 4 - rows


def test_a_larger_grid_goes_on_and_trains_nothing_twice(first, monkeypatch):
    folder, table = first
    trained = []
    whole = module.fit_with_pruning
    monkeypatch.setattr(module, "fit_with_pruning", lambda *args, **kwargs: trained.append(kwargs) or whole(*args, **kwargs))
    more = swept(folder, targets=(1.0, 0.7), quantizers=("float16", "float32"))
    assert [(t["target"].macs, t["seed"]) for t in trained] == [(0.7, 0)]
    assert [(r.target, r.quantizer) for r in more.rows] == [(t, q) for t in (1.0, 0.7) for q in ("float16", "float32")]
    assert more.rows[1] == table.rows[0]
    # Quantizers that were not in the last grid are remembered.
    with pytest.raises(BadInput, match=r"quantizers\.int8_ptq\.examples was 256 and is 8"):
        swept(folder, quantizers=(Int8PTQ(examples=8),))


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda: {"model": nets.compiled(nets.chain())}, 'model.name was "small" and is "chain"; model.structure was'),
        (lambda: {"model": nets.randomized(net())}, "where model.weights was"),
        (lambda: {"data": (X[:32], Y[:32])}, r'data.train.arrays was ["float32[48, 8, 8, 3]"'),
        (lambda: {"data": (X[:48] + 1, Y[:48])}, "where data.train.content was"),
        (lambda: {"epochs": 2}, "where settings.epochs was 1 and is 2"),
        (lambda: {"constraints": kt.Constraints(min_channels=2)}, "where settings.constraints.min_channels was 1 and is 2"),
        (lambda: {"criterion": "magnitude"}, 'where settings.criterion was "taylor_gate" and is "magnitude"'),
    ],
)
def test_the_folder_of_another_sweep_is_refused(first, change, text):
    options = change()
    with pytest.raises(BadInput) as raised:
        swept(first[0], **options)
    assert text in str(raised.value) and "Pass another run_dir" in str(raised.value)


def test_quantize_while_pruning(tmp_path):
    model, seen = net(), []
    options = {"orders": ("quantize_while_pruning",), "epochs": 1, "schedule": kt.Schedule(2), "targets": (0.5,)}
    with pytest.MonkeyPatch.context() as patched:
        whole = joint.quantize
        patched.setattr(joint, "quantize", lambda m, q, **kw: seen.append((kt.trace(m).macs, q)) or whole(m, q, **kw))
        table = swept(tmp_path, model, quantizers=("float16", Int8QAT(epochs=1, batch_size=16)), **options)
    (row,) = table.rows
    full = kt.trace(model).macs
    assert (row.quantizer, row.order) == ("int8_qat", "quantize_while_pruning") and row.macs <= 0.5 * full
    # Half of the removal, an epoch as the model is trained; the other half, and the quantizer's own epoch.
    (first_macs, first), (last_macs, last) = seen
    assert 0.5 * full < first_macs <= 0.75 * full and last_macs == row.macs
    assert (first.optimizer["class_name"], round(first.learning_rate, 6), first.epochs) == ("Adam", 1e-3, 1)
    assert (last.optimizer, last.learning_rate, last.epochs) == ("adam", 1e-4, 1)
    assert table.skipped == {"quantize_while_pruning": "it is an order for int8_qat alone, not for float16"}
    assert "no row: quantize_while_pruning: it is" in str(table)


def test_a_row_that_cannot_be_made_is_named_and_the_others_go_on(tmp_path, monkeypatch):
    whole = module.quantize

    def refusing(model, quantizer, **options):
        if quantizer.name == "int8_ptq":
            raise kt.errors.UnsupportedModel("no integer form")
        return whole(model, quantizer, **options)

    monkeypatch.setattr(module, "quantize", refusing)
    table = swept(tmp_path, targets=(1.0,))
    assert [row.quantizer for row in table.rows] == ["float32"]
    assert table.skipped == {"macs1.0-seed0-prune_quantize-int8_ptq": "UnsupportedModel: no integer form"}
    with pytest.raises(kt.errors.UnsupportedModel):
        swept(tmp_path, targets=(1.0,), quantizers=("int8_ptq",))


class TestTheUnprunedNetIsConvertedFirst:
    """Before anything is trained: the reason is there in seconds."""

    @pytest.fixture(autouse=True)
    def nothing_is_trained(self, monkeypatch):
        trained = []
        whole = module.fit_with_pruning
        monkeypatch.setattr(module, "fit_with_pruning", lambda *args, **options: trained.append(1) or whole(*args, **options))
        return trained

    def of(self, *parts):
        convolutions = layers.Conv2D(8, 3), layers.Conv2D(2, 1)
        model = keras.Sequential([keras.Input((8, 8, 3)), *convolutions, *parts, layers.Flatten(), layers.Dense(2)])
        model.compile("adam", nets.CROSS_ENTROPY)
        return model

    @pytest.mark.parametrize(
        ("parts", "quantizers", "text"),
        [
            # The converter refuses it in every precision.
            ([layers.Lambda(keras.ops.erf)], ("float32", "int8_ptq"), "Erf"),
            ([layers.Lambda(keras.ops.erf)], ("float16",), "Erf"),
            # LiteRT cannot run the file.
            ([layers.LayerNormalization()], ("int16x8_ptq",), "LiteRT must be able to run the int16x8_ptq file|does not name"),
            # Training has no form of the layer.
            ([layers.GroupNormalization(2)], ("int8_qat",), "tf_keras form"),
        ],
    )
    def test_a_net_without_a_file_is_refused(self, tmp_path, nothing_is_trained, parts, quantizers, text):
        with pytest.raises((kt.errors.ConversionError, kt.errors.UnsupportedModel), match=text):
            swept(tmp_path, self.of(*parts), quantizers=quantizers, allow_uncounted=True)
        assert not nothing_is_trained

    def test_one_precision_less(self, tmp_path, nothing_is_trained):
        table = swept(tmp_path, self.of(layers.LayerNormalization()), quantizers=("int16x8_ptq", "float16"), targets=(0.5,))
        assert [row.quantizer for row in table.rows] == ["float16"] and len(nothing_is_trained) == 1
        assert list(table.skipped) == ["int16x8_ptq"] and table.skipped["int16x8_ptq"].startswith("ConversionError: ")

    def test_a_finished_sweep_converts_nothing(self, first, monkeypatch):
        monkeypatch.setattr(module, "refused", None)
        assert lasting(swept(first[0])) == lasting(first[1])


def test_a_model_is_traced_once_for_a_row(tmp_path, monkeypatch):
    traced = []
    whole = module.trace
    monkeypatch.setattr(module, "trace", lambda model: traced.append(model) or whole(model))
    from keras_taylor._measure import measure as measuring
    from keras_taylor._trace import graph

    monkeypatch.setattr(measuring, "as_graph", lambda given: given if isinstance(given, graph.ChannelGraph) else 1 / 0)
    swept(tmp_path, targets=(1.0,), quantizers=("float32",), epochs=0)
    assert len(traced) == 1


def test_tables_name_the_processor(first):
    device = kt.litert.LiteModel(kt.quantize(net(), verbose=0)).latency(runs=1).device
    assert {row.device for row in first[1].rows} == {device}
    text = " ".join(first[1].render("markdown").split())
    assert device in text
    old = {name: value for name, value in asdict(first[1].rows[0]).items() if name != "device"}
    assert "run on" not in kt.SweepTable((kt.results.SweepRow(**old),)).render("markdown")


@pytest.mark.parametrize(
    ("options", "kind", "text"),
    [
        ({"targets": 0.5}, BadInput, "targets must be a list. Received: 0.5. Write targets=[...]"),
        ({"quantizers": "float32"}, BadInput, "quantizers must be a list. Received: 'float32'"),
        ({"orders": "prune_quantize"}, BadInput, "orders must be a list"),
        ({"validation_data": None}, BadInput, "validation_data must be given"),
        ({"validation_data": X}, BadInput, "validation_data must have labels"),
        ({"data": X}, BadInput, "x must have labels"),
        ({"targets": (1.2,)}, BadInput, "shares of the MACs in (0, 1]"),
        ({"targets": ()}, BadInput, "targets must be different"),
        ({"targets": (1e-6,)}, InfeasibleTarget, ""),
        ({"quantizers": ("int8",)}, UnknownName, "Did you mean 'int8_"),
        ({"quantizers": ("int8_ptq", Int8PTQ())}, BadInput, "quantizers must be different"),
        ({"orders": ("quantize_prune",)}, UnknownName, "Did you mean 'quantize_while_pruning'"),
        ({"orders": ("quantize_while_pruning",), "epochs": 0}, BadInput, "must have epochs"),
        ({"seeds": (0, 0)}, BadInput, "seeds must be different"),
        ({"runs": 0}, BadInput, "runs must be"),
        ({"epochs": -1}, BadInput, "epochs must be a whole number"),
        ({"epochs": 1, "schedule": kt.Schedule(5)}, BadInput, "epochs must cover the schedule"),
        ({"criterion": "taylr"}, UnknownName, "Did you mean"),
        ({"repair": "lstq"}, UnknownName, "Did you mean"),
        ({"model": nets.chain()}, BadInput, "must be compiled"),
    ],
)
def test_bad_input_is_refused_before_any_work(tmp_path, options, kind, text):
    with pytest.raises(kind) as raised:
        swept(tmp_path / "new", **options)
    assert text in str(raised.value)
    assert not (tmp_path / "new").exists()


def test_an_unwritable_folder_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInput, match="run_dir must be a folder that can be made"):
        swept(tmp_path / "file")


def row(target=1.0, quantizer="float32", accuracy=0.9, seed=0, **changes):
    bits = {"float32": (32, 32), "float16": (16, 32)}.get(quantizer, (8, 8))
    values = dict.fromkeys((f.name for f in kt.results.SweepRow.__dataclass_fields__.values()), 1)
    macs = int(1000 * target)
    bops = macs * bits[0] * bits[1]
    named = {"target": target, "seed": seed, "order": "prune_quantize", "quantizer": quantizer, "weight_bits": bits[0]}
    named |= {"activation_bits": bits[1], "accuracy": accuracy, "float_accuracy": accuracy, "examples": 400, "macs": macs}
    return kt.results.SweepRow(
        **{**values, **named, "bops": bops, "relative_bops": bops / 1_024_000, "path": "a", "device": "", **changes}
    )


def grid():
    """float32 falls at 0.3; int8_ptq costs a little, and falls at 0.5; int8_qat holds out longer."""
    accuracy = {
        "float32": (0.90, 0.90, 0.895, 0.80),
        "int8_ptq": (0.895, 0.892, 0.88, 0.70),
        "int8_qat": (0.90, 0.90, 0.891, 0.79),
    }
    return kt.SweepTable(
        tuple(row(t, name, a) for name, found in accuracy.items() for t, a in zip((1.0, 0.7, 0.5, 0.3), found, strict=True))
    )


def test_pareto_by_hand():
    def points(*pairs):
        return kt.SweepTable(tuple(row(bops=x, accuracy=y, seed=i) for i, (x, y) in enumerate(pairs)))

    def best(table):
        return [r.seed for r in table.pareto("bops", "accuracy")]

    assert best(points((3, 0.9), (2, 0.8), (1, 0.85))) == [2, 0]  # 1 is beaten by 2
    assert best(points((1, 0.9), (1, 0.9))) == [0, 1]  # equals do not beat each other
    assert best(points((1, 0.9), (1, 0.8), (2, 0.9))) == [0]  # equal in one number, worse in the other
    assert [r.seed for r in points((1, 0.9), (2, 0.95)).pareto("bops", "bytes")] == [0]  # less is better in all but accuracy
    with pytest.raises(UnknownName, match="Did you mean 'bops'"):
        points((1, 0.9)).pareto("bop")


def test_groups_are_means_over_seeds():
    table = kt.SweepTable((row(accuracy=0.9), row(accuracy=0.7, seed=1), row(0.5, accuracy=0.8)))
    group = table.groups()[0]
    assert len(table.groups()) == 2 and group.number("accuracy") == pytest.approx(0.8)
    assert group.spread("accuracy") == pytest.approx(0.1 * np.sqrt(2)) and table.groups()[1].spread("accuracy") == 0
    assert [g.target for g in table.front()] == [0.5]  # as good on average, and smaller
    assert "0.8000 ± 0.1414" in table.render("markdown")


def test_the_answer_is_computed_from_the_rows():
    text = grid().answer()
    assert text.startswith("At 8 bits the network can be pruned to 50 % of its MACs (int8_qat) and stays within 1 point of the")
    assert "an accuracy of 0.9000 (1 seed); 400 examples give a single accuracy a standard error of about 0.0150." in text
    assert "- int8_ptq: unpruned 0.8950 at 6.25 % of the BOPs; within 1 point of the unpruned float32 file down to" in text
    assert "the target 0.7 (0.8920 at 4.38 % of the BOPs)" in text
    assert "prune only 50 % of the BOPs (float32 at 0.5), quantize only 6.25 % of the BOPs (int8_qat at 1)" in text
    assert "both 3.12 % of the BOPs (int8_qat at 0.5)" in text
    assert "to 30 % of its MACs" in grid().answer(0.2) and "so the limit lies below it" in grid().answer(0.2)


def test_the_answer_is_honest_when_nothing_qualifies():
    text = kt.SweepTable(tuple(replace(r, accuracy=0.5) if r.target < 1 else r for r in grid().rows)).answer()
    assert text.startswith("At 8 bits no target below 1 that was tried stays within 1 point")
    assert "40 points below" in text and "both does not reach it" in text
    assert "cannot be said" in kt.SweepTable(grid().rows[:4]).answer()
    assert "cannot be said" in kt.SweepTable(()).answer()


def test_the_answer_counts_seeds():
    rows = [row(1.0, "float32", 0.9, s) for s in (0, 1)] + [row(0.5, "int8_ptq", a, s) for s, a in enumerate((0.92, 0.87))]
    assert "(0.8950 ± 0.0354 at 3.12 % of the BOPs, in 1 of 2 seeds)" in kt.SweepTable(tuple(rows)).answer()


def test_tables_and_files(tmp_path):
    table = grid()
    table.save(tmp_path / "table.json")
    assert kt.SweepTable.load(tmp_path / "table.json") == table
    table.save(tmp_path / "table.csv")
    table.save(tmp_path / "table.md")
    lines = list(csv.DictReader((tmp_path / "table.csv").read_text().splitlines()))
    assert len(lines) == 12 and [line["pareto"] for line in lines].count("1") == len(table.pareto())
    printed = str(table)
    assert sum(line.startswith("│ * ") for line in printed.splitlines()) == len(table.pareto())
    assert sum(line.startswith("|") for line in (tmp_path / "table.md").read_text().splitlines()) == 14
    with pytest.raises(BadInput, match=r"must end with .json, .csv or .md"):
        table.save(tmp_path / "table.txt")
    with pytest.raises(BadInput, match="must be JSON as SweepTable"):
        kt.SweepTable.from_json("[]")
    with pytest.raises(BadInput, match="format of a table must be 1"):
        kt.SweepTable.from_json('{"format": 2}')


def test_the_figure_has_three_fronts(tmp_path):
    for name in ("a.svg", "a.png"):
        grid().figure(tmp_path / name)
    text = (tmp_path / "a.svg").read_text()
    assert all(f"<!-- {name} -->" in text for name in ("prune only", "quantize only", "both"))
    assert "<!-- 50 %, int8_qat -->" in text
    with pytest.raises(BadInput, match=r"must end with .svg"):
        grid().figure(tmp_path / "a.txt")
