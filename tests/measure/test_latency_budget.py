"""A latency as a budget: segments, the look-up and its cache, and the search for a file that meets it. No clock is read."""

import json

import keras
import numpy as np
import pytest

import keras_taylor as kt
from keras_taylor._measure import latency_budget, timing
from keras_taylor._measure.latency_cache import Cache, cache_folder
from keras_taylor._measure.latency_table import LatencyTable, fit, look_up
from keras_taylor._measure.segments import cut
from keras_taylor._plan.target import LATENCY
from keras_taylor._rebuild.rebuild import flat_names
from keras_taylor.litert import Latency
from keras_taylor.quantizers import quantizer_for
from tests import nets

layers = keras.layers

MAGNITUDE = {"criterion": "magnitude"}


def latency(seconds):
    return Latency.of([seconds], warm_up=0, threads=1)


def weights_alone(model, quantizer=None):
    return b"x" * (500 + model.count_params() * (1 if quantizer_for(quantizer).name == "int8_ptq" else 4))


def wide():
    """Two convolutions with BatchNormalization, tied by an Add, and one behind it: wide enough for all roundings."""
    x = inputs = keras.Input((8, 8, 3), name="image")
    x = skip = layers.ReLU(name="relu1")(layers.BatchNormalization(name="bn1")(layers.Conv2D(32, 3, name="a")(x)))
    x = layers.BatchNormalization(name="bn2")(layers.Conv2D(32, 3, padding="same", name="b")(x))
    x = layers.ReLU(name="relu2")(layers.Add(name="add")([x, skip]))
    x = layers.Conv2D(64, 3, activation="relu", name="c")(x)
    return nets.randomized(keras.Model(inputs, layers.Dense(4, name="logits")(layers.Flatten(name="flat")(x)), name="wide"))


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_TAYLOR_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def timed(monkeypatch):
    """A device whose time is the number of bytes in a file that holds nothing but weights: no converter, and no clock."""
    calls = []
    monkeypatch.setattr(timing, "file_like", lambda model, quantizer, integers=False: weights_alone(model, quantizer))

    monkeypatch.setattr(timing, "check_runs", lambda file, name, quantizer: None)

    def latencies(files, threads, seconds=3.0):
        calls.append(len(files))
        return [latency(len(file) / 1e6) for file in files]

    monkeypatch.setattr(timing, "latencies", latencies)
    return calls


class TestSegments:
    def test_what_follows_a_kernel_alone_belongs_to_it(self):
        found = [[step.call.name for step in segment.steps] for segment in cut(kt.trace(wide()))]
        assert found == [["a", "bn1", "relu1"], ["b", "bn2"], ["add", "relu2"], ["c", "flat"], ["logits"]]

    @pytest.mark.parametrize("model", [nets.chain, nets.residual, nets.nested, wide])
    def test_every_call_is_in_one_segment(self, model):
        graph = kt.trace(model())
        names = [step.call.name for segment in cut(graph) for step in segment.steps]
        assert sorted(names) == sorted(step.call.name for step in graph.steps)

    def test_a_segment_alone_at_half_its_width(self):
        graph = kt.trace(wide())
        keep = np.ones(graph.channels, bool)
        keep[nets.producer_channels(graph, "b")[::2]] = False
        segments = {segment.name: segment.model(graph.keep_labels(keep)) for segment in cut(graph)}
        assert {name: (model.inputs[0].shape[-1], model.outputs[0].shape[-1]) for name, model in segments.items()} == {
            "a": (3, 16),
            "b": (16, 16),
            "add": (16, 16),
            "c": (16, 16 * 64),
            "logits": (16 * 64, 4),
        }

    def test_the_recipe_says_all_but_the_name(self):
        recipes = []
        for name, filters in (("one", 4), ("two", 4), ("three", 5)):
            model = keras.Sequential([keras.Input((4, 4, 3)), layers.Conv2D(filters, 3, name=name)])
            graph = kt.trace(model)
            recipes.append(cut(graph)[0].recipe(graph.keep_labels(np.ones(graph.channels, bool))))
        assert recipes[0] == recipes[1] != recipes[2]

    def test_the_model_is_left_alone(self):
        model = nets.compiled(wide())
        before = nets.state(model)
        graph = kt.trace(model)
        for segment in cut(graph):
            segment.model(graph.keep_labels(np.ones(graph.channels, bool)))
        nets.assert_same_state(before, nets.state(model))


class TestTable:
    def test_coefficients_by_hand(self):
        counts = np.array([[8, 6], [4, 6], [8, 3], [4, 3], [2, 2]], float)
        times = 10 + 2 * counts[:, 0] + 3 * counts[:, 1] + 5 * counts[:, 0] * counts[:, 1]
        assert fit(counts, times) == pytest.approx((10, 2, 3, 5))

    def test_coefficients_are_never_negative(self):
        assert min(fit(np.array([[8.0, 8.0], [4.0, 4.0]]), np.array([1.0, 2.0]))) >= 0

    def test_the_sum_over_the_segments(self, timed):
        """The files of the look-up, added up: each segment alone at full width."""
        graph = kt.trace(wide())
        full = graph.keep_labels(np.ones(graph.channels, bool))
        expected = sum(1e9 * len(timing.file_like(s.model(full), None, integers=True)) / 1e6 for s in cut(graph))
        assert look_up(graph).terms(graph).total(graph.cost.full) == pytest.approx(expected, rel=0.02)

    def test_terms_by_hand(self):
        graph = kt.trace(nets.chain())
        table = LatencyTable({"conv1": (100, 0, 7, 0), "conv2": (0, 0, 0, 2), "logits": (5, 1, 0, 0)})
        keep = np.ones(graph.channels, bool)
        keep[nets.producer_channels(graph, "conv1")[:2]] = False
        cost = graph.cost.extended(LATENCY, table.terms(graph))
        assert cost.totals()[LATENCY] == 100 + 7 * 6 + 2 * 6 * 8 + 5 + 8
        assert cost.totals(keep)[LATENCY] == 100 + 7 * 4 + 2 * 4 * 8 + 5 + 8
        assert LATENCY not in graph.cost.totals()

    def test_a_table_for_the_rebuilt_model(self, timed):
        """Nested names become flat; the prediction is the same."""
        model = nets.nested()
        graph = kt.trace(model)
        table = look_up(graph)
        copy = kt.rebuild(model, kt.PruningPlan({}))
        names = flat_names(graph)
        flat = kt.trace(copy)
        again = table.renamed(names).terms(flat).total(flat.cost.full)
        assert again == pytest.approx(table.terms(graph).total(graph.cost.full))
        assert again > 0

    def test_it_is_measured_once(self, timed, folder):
        first = look_up(kt.trace(wide()))
        measured = len(timed)
        assert measured > 0 and len(list(folder.iterdir())) == 1
        assert look_up(kt.trace(wide())) == first
        assert len(timed) == measured

    def test_another_precision_or_number_of_threads_is_another_table(self, timed, folder):
        for options in ({}, {"threads": 2}, {"quantizer": "float16"}):
            look_up(kt.trace(nets.chain()), **options)
        assert len(list(folder.iterdir())) == 3

    @pytest.mark.parametrize("quantizer", [None, "float16", "dynamic", "int8_ptq", "int16x8_ptq", kt.Int8QAT(epochs=0)])
    def test_every_precision_has_a_file(self, quantizer):
        """Real files of one segment, with integers at their border where that is possible; nothing is trained."""
        graph = kt.trace(nets.chain())
        model = cut(graph)[1].model(graph.keep_labels(np.ones(graph.channels, bool)))
        found = kt.litert.LiteModel(timing.file_like(model, quantizer, integers=True))
        assert found([np.ones((2, 6, 6, 6))])[0].shape == (2, 8)
        assert timing.latencies([timing.file_like(model, quantizer)], 1, seconds=0)[0].runs == 20

    def test_a_layer_that_its_config_does_not_make_again(self, timed):
        @keras.saving.register_keras_serializable("test_latency")
        class Scaled(layers.Layer):
            def __init__(self, factor):
                super().__init__()
                self.factor = factor

            def call(self, x):
                return x * self.factor

        inputs = keras.Input((6,))
        model = keras.Model(inputs, layers.Dense(2, name="last")(Scaled(2.0)(inputs)))
        table = look_up(kt.trace(model))
        assert len(table.unknown) == 1 and list(table.coefficients) == ["last"]


class TestCache:
    def test_where_it_is(self, monkeypatch, tmp_path):
        assert cache_folder() == tmp_path / "cache"
        monkeypatch.delenv("KERAS_TAYLOR_CACHE")
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
        assert cache_folder() == tmp_path / "keras_taylor"

    def test_two_processes_add_to_it(self):
        one, other = Cache(1, "float32"), Cache(1, "float32")
        one.add({"a": 1.0})
        other.add({"b": 2.0})
        assert one.load() == {"a": 1.0, "b": 2.0}
        assert {"device", "threads", "precision", "ai-edge-litert"} < set(json.loads(one.path.read_text()))

    def test_training_and_calibration_share_it(self, timed, folder):
        """Their files take as long."""
        first = look_up(kt.trace(wide()), "int8_ptq")
        measured = len(timed)
        assert look_up(kt.trace(wide()), kt.Int8QAT(io="uint8")) == first and len(timed) == measured

    @pytest.mark.parametrize("text", ["", "[]", "{}", '{"seconds": 3}', '{"seconds": {"a": "b"}}'])
    def test_a_broken_file_is_no_error(self, text):
        cache = Cache(1, "float32")
        cache.path.parent.mkdir(parents=True)
        cache.path.write_text(text)
        assert cache.load() == {}
        cache.add({"a": 1.0})
        assert cache.load() == {"a": 1.0}

    def test_a_folder_that_cannot_be_made_is_no_error(self, monkeypatch):
        monkeypatch.setenv("KERAS_TAYLOR_CACHE", "/proc/nothing")
        cache = Cache(1, "float32")
        cache.add({"a": 1.0})
        assert cache.load() == {}


class TestTarget:
    BAD = {
        "both": ({"latency": 0.5, "latency_ms": 2}, "must have one of latency and latency_ms"),
        "negative": ({"latency": -0.5}, r"Target\(latency=\) must be a fraction"),
        "above 1": ({"latency": 3.5}, "latency_ms= takes milliseconds"),
        "zero": ({"latency_ms": 0}, r"Target\(latency_ms=\) must be a positive number"),
        "text": ({"latency_ms": "3 ms"}, r"Target\(latency_ms=\) must be a positive number"),
        "infinite": ({"latency_ms": float("inf")}, r"Target\(latency_ms=\) must be a positive number"),
        "threads": ({"latency": 0.5, "threads": 0}, r"Target\(threads=\) must be a whole number"),
        "a precision that nothing is timed in": ({"macs": 0.5, "quantizer": "float16"}, "must go with a latency"),
    }

    @pytest.mark.parametrize("what", BAD)
    def test_bad_input(self, what):
        options, text = self.BAD[what]
        with pytest.raises(kt.errors.BadInput, match=text):
            kt.Target(**options)

    def test_it_prints_what_is_given(self):
        assert str(kt.Target(latency_ms=3.5, quantizer="int8_ptq")) == (
            "Target(latency_ms=3.5, quantizer='int8_ptq', threads=1)"
        )
        assert str(kt.Target(macs=0.5)) == "Target(macs=0.5)"

    def test_calibration_data_are_not_printed_and_compared_by_content(self):
        targets = [kt.Target(latency=0.5, quantizer=kt.Int8PTQ(np.zeros((9, 9)))) for _ in range(2)]
        assert targets[0] == targets[1] and len(str(targets[0])) < 120
        assert targets[0] != kt.Target(latency=0.5, quantizer=kt.Int8PTQ(np.ones((9, 9))))

    def test_a_plan_counts(self):
        graph = kt.trace(nets.chain())
        with pytest.raises(kt.errors.BadInput, match=r"kt.prune and kt.fit_with_pruning"):
            kt.plan(nets.random_scores(graph), kt.Target(latency=0.5))

    UNUSABLE = {
        "an unknown precision": ({"target": kt.Target(latency=0.5, quantizer="int9")}, "quantizer must be a known name"),
        "an unknown layer": ({"constraints": kt.Constraints(keep=["nothing"])}, "must be a known name"),
        "another budget that cannot be met": ({"target": kt.Target(latency=0.5, macs=2)}, "smallest reachable"),
    }

    @pytest.mark.parametrize("what", UNUSABLE)
    def test_bad_input_is_refused_before_anything_is_timed(self, what, timed):
        options, text = self.UNUSABLE[what]
        with pytest.raises(kt.errors.KerasTaylorError, match=text):
            kt.prune(nets.chain(), verbose=0, **nets.with_recipe({"target": kt.Target(latency=0.5), **MAGNITUDE, **options}))
        assert not timed


def share(model, small, quantizer=None):
    """The time of both files on the device of the tests."""
    return len(weights_alone(small, quantizer)) / len(weights_alone(model, quantizer))


class TestPrune:
    @pytest.mark.parametrize("quantizer", [None, "int8_ptq"])
    def test_a_part_of_the_time(self, timed, quantizer):
        model = wide()
        result = kt.prune(model, target=kt.Target(latency=0.6, quantizer=quantizer), recipe=kt.Recipe(**MAGNITUDE), verbose=0)
        assert 0.95 * 0.6 <= share(model, result.model, quantizer) <= 0.6
        assert kt.verify(model, result.plan, result.model).ok

    def test_milliseconds(self, timed):
        model = wide()
        wanted = 0.7 * len(timing.file_like(model, None)) / 1e3
        result = kt.prune(model, target=kt.Target(latency_ms=wanted), recipe=kt.Recipe(**MAGNITUDE), verbose=0)
        assert 0.95 * 0.7 <= share(model, result.model) <= 0.7

    def test_with_another_budget(self, timed):
        model = wide()
        result = kt.prune(model, target=kt.Target(latency=0.9, macs=0.4), recipe=kt.Recipe(**MAGNITUDE), verbose=0)
        assert kt.trace(result.model).macs <= 0.4 * kt.trace(model).macs
        assert share(model, result.model) <= 0.9

    def test_nearly_all_of_the_time(self, timed):
        model = wide()
        assert (
            0.95
            <= share(model, kt.prune(model, target=kt.Target(latency=1.0), recipe=kt.Recipe(**MAGNITUDE), verbose=0).model)
            <= 1
        )

    def test_the_report_says_what_was_measured(self, timed):
        result = kt.prune(wide(), target=kt.Target(latency=0.6), recipe=kt.Recipe(**MAGNITUDE), verbose=0)
        before, final = (result.report[name].metrics["latency_ms"] for name in ("before", "final"))
        assert 0.95 * 0.6 * before <= final <= 0.6 * before
        assert {"latency", "threads", "device", "round_to", "quantizer"} <= set(result.report.settings)
        assert "latency_ms" in str(result.report)

    def test_a_given_rounding_is_respected(self, timed):
        rules = kt.Constraints(round_to=8)
        with pytest.warns(UserWarning, match=r"The file takes 83% of the latency budget"):
            result = kt.prune(
                wide(), target=kt.Target(latency=0.6), recipe=kt.Recipe(criterion="magnitude", constraints=rules), verbose=0
            )
        widths = [len(result.plan.kept[name]) for name in ("a", "b", "c") if name in result.plan.kept]
        assert widths and all(width % 8 == 0 for width in widths)
        assert "round_to" not in result.report.settings

    @pytest.mark.filterwarnings("ignore:The file takes")
    def test_the_rounding_is_chosen_by_measurement(self, timed, monkeypatch):
        """A device on which a width that 16 does not divide costs as much as the next one that it does."""
        monkeypatch.setattr(timing, "file_like", lambda model, quantizer, integers=False: rounded_file(model))
        monkeypatch.setattr(timing, "latencies", lambda files, threads, seconds=3.0: [latency(len(f) / 1e6) for f in files])
        result = kt.prune(wide(), target=kt.Target(latency=0.7), recipe=kt.Recipe(**MAGNITUDE), verbose=0)
        assert result.report.settings["round_to"] == 16

    def test_a_budget_that_no_file_meets(self, timed, monkeypatch):
        """A device that takes as long for any file."""
        monkeypatch.setattr(timing, "latencies", lambda files, threads, seconds=3.0: [latency(0.01) for _ in files])
        with pytest.raises(kt.errors.InfeasibleTarget, match=r"latency_ns: asked|The fastest file that was timed"):
            kt.prune(wide(), target=kt.Target(latency=0.5), recipe=kt.Recipe(**MAGNITUDE), verbose=0)

    def test_a_prediction_that_is_wrong_is_corrected(self, timed, monkeypatch):
        """A look-up whose fixed times are three times too long: pruning seems to save less than it does."""
        table = look_up(kt.trace(wide()))
        monkeypatch.setattr(latency_budget, "look_up", lambda *_, **__: LatencyTable(skewed(table)))
        model = wide()
        found = kt.prune(model, target=kt.Target(latency=0.6), recipe=kt.Recipe(**MAGNITUDE), verbose=0).model
        assert 0.95 * 0.6 <= share(model, found) <= 0.6


def skewed(table):
    return {name: (3 * a, b, c, d) for name, (a, b, c, d) in table.coefficients.items()}


def rounded_file(model):
    """As many bytes as the convolutions would have weights at the next widths that 16 divides."""
    graph = kt.trace(model)
    macs = 0
    for step in graph.steps:
        if isinstance(step.call.operation, layers.Conv2D):
            ins, outs = step.call.operation.kernel.shape[-2:]
            macs += -(-ins // 16) * -(-outs // 16) * 1000
    return b"x" * (macs + 100)


class TestFit:
    def test_the_last_step_meets_it(self, timed):
        model = nets.compiled(wide())
        x, y = nets.images(16, classes=4)
        target, steps = kt.Target(latency=0.6), kt.Schedule.linear(2)
        result = kt.fit_with_pruning(
            model, x, y, target=target, epochs=2, verbose=0, **nets.with_recipe({"schedule": steps, **MAGNITUDE})
        )
        assert 0.95 * 0.6 <= share(model, result.model) <= 0.6
        found = {stage.name: stage.metrics["latency_ms"] for stage in result.report.stages}
        assert found["before"] > found["pruned 1"] > found["pruned 2"] == found["final"]
        assert found["trained 1"] == found["pruned 1"]
        assert "round_to" in result.report.settings
        assert kt.trace(kt.rebuild(model, result.plan)).macs == kt.trace(result.model).macs

    @pytest.mark.filterwarnings("ignore:The file takes")
    def test_nested_names(self, timed):
        model = nets.compiled(nets.nested())
        x, y = nets.images(8)
        result = kt.fit_with_pruning(
            model, x, y, target=kt.Target(latency=0.95), epochs=1, verbose=0, **nets.with_recipe(MAGNITUDE)
        )
        assert share(model, result.model) <= 0.95


class TestTheUnprunedNetIsConvertedFirst:
    """Before the first epoch, and before its parts are timed."""

    @pytest.mark.parametrize(
        ("layer", "quantizer", "text"),
        [
            (layers.LayerNormalization(), "int16x8_ptq", "LiteRT must be able to run the int16x8_ptq file|does not name"),
            (layers.Lambda(keras.ops.erf), None, "Erf"),
            (layers.GroupNormalization(2), kt.Int8QAT(), "tf_keras form"),
        ],
    )
    def test_a_net_without_a_file_is_refused(self, layer, quantizer, text, monkeypatch):
        for name in ("look_up", "rebuild"):
            monkeypatch.setattr(f"keras_taylor._measure.latency_budget.{name}", None)
        convolutions = layers.Conv2D(8, 3), layers.Conv2D(2, 1)
        model = keras.Sequential([keras.Input((8, 8, 3)), *convolutions, layer, layers.Flatten(), layers.Dense(2)])
        model.compile("sgd", nets.CROSS_ENTROPY)
        target = kt.Target(latency=0.5, quantizer=quantizer)
        with pytest.raises((kt.errors.ConversionError, kt.errors.UnsupportedModel), match=text):
            kt.fit_with_pruning(model, nets.images(8)[0], np.zeros(8), target=target, epochs=1, verbose=0)
