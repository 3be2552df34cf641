"""Budgets, constraints, ranking, and plans as values."""

import dataclasses
import itertools
import json

import keras
import numpy as np
import pytest

import keras_taylor as kt
from keras_taylor._plan.pruning_plan import from_mask, to_mask
from tests import nets
from tests.random_graphs import Builder

layers = keras.layers


def small_model():
    """16 -> 24 convolutions with a residual, wide enough for rounding."""
    x = inputs = keras.Input((8, 8, 3), name="image")
    x = skip = layers.Conv2D(16, 3, padding="same", activation="relu", name="a")(x)
    x = layers.Conv2D(24, 1, activation="relu", name="b")(x)
    x = layers.Conv2D(16, 3, padding="same", name="c")(x)
    x = layers.Concatenate(name="cat")([layers.Add(name="add")([x, skip]), layers.Conv2D(12, 1, name="d")(skip)])
    x = layers.Flatten(name="flat")(layers.MaxPooling2D(2, name="pool")(x))
    return keras.Model(inputs, layers.Dense(4, name="logits")(layers.Dense(20, name="hidden")(x)), name="small")


def drawn():
    recipe = [("conv", 5, 6, 1, 0), ("squeeze_excite", 5, 1, 2, 0), ("concat", 5, 3, 0, 1), ("depthwise", 5, 1, 0, 0)]
    return Builder().build(([*recipe, ("conv", 4, 5, 0, 0), ("add", 5, 0, 0, 0), ("grouped", 5, 1, 1, 0)], 0))


MODELS = {"chain": nets.chain, "residual": nets.residual, "nested": nets.nested, "small": small_model, "drawn": drawn}


@pytest.fixture(scope="module", params=MODELS)
def graph(request):
    return kt.trace(MODELS[request.param]())


@pytest.fixture(scope="module")
def small():
    return kt.trace(small_model())


class TestBudget:
    @pytest.mark.parametrize("budget", ["macs", "params", "channels"])
    @pytest.mark.parametrize("rank", ["saving", "score"])
    def test_it_is_hard_and_as_close_as_one_channel_allows(self, graph, budget, rank):
        for seed, share in itertools.product(range(3), (0.9, 0.7, 0.5)):
            scores = nets.random_scores(graph, seed)
            try:
                plan = kt.plan(scores, kt.Target(**{budget: share}), rank=rank)
            except kt.errors.InfeasibleTarget:
                assert share < 0.8
                continue
            limit = share * graph.cost.totals()[budget]
            keep = to_mask(graph, plan)
            assert graph.cost.totals(keep)[budget] == plan.after[budget] <= limit
            for channel in np.flatnonzero(~keep):
                more = keep.copy()
                more[channel] = True
                assert graph.cost.totals(more)[budget] > limit, f"channel {channel} could have stayed"

    def test_the_plan_promises_what_the_rebuilt_model_has(self, graph):
        plan = kt.plan(nets.random_scores(graph), kt.Target(macs=0.8))
        assert plan.before == graph.cost.totals()
        assert plan.after == graph.cost.totals(to_mask(graph, plan))

    def test_an_absolute_target(self, small):
        wanted = int(0.61 * small.macs)
        scores = nets.random_scores(small)
        assert kt.plan(scores, kt.Target(macs=wanted)) == kt.plan(scores, kt.Target(macs=wanted / small.macs))
        assert kt.plan(scores, kt.Target(channels=60)).after["channels"] <= 60

    def test_the_whole_model_keeps_everything(self, graph):
        assert not kt.plan(nets.random_scores(graph), kt.Target(macs=1.0)).kept
        assert not kt.plan(nets.random_scores(graph), kt.Target(macs=10 * graph.macs)).kept

    def test_several_budgets_are_all_met(self, small):
        for macs, params in ((0.5, 0.9), (0.9, 0.5), (0.6, 0.6)):
            target = kt.Target(macs=macs, params=params)
            plan = kt.plan(nets.random_scores(small), target)
            assert plan.after["macs"] <= macs * small.macs
            assert plan.after["params"] <= params * small.params
            keep = to_mask(small, plan)
            for channel in np.flatnonzero(~keep):
                more = keep.copy()
                more[channel] = True
                found = small.cost.totals(more)
                assert found["macs"] > macs * small.macs or found["params"] > params * small.params


class TestRanking:
    def test_plain_order_by_hand(self):
        """The channels with the lowest scores go, whatever they save: exactly the first five of 14, for what is then left."""
        graph = kt.trace(nets.chain())
        free = np.concatenate([nets.producer_channels(graph, name) for name in ("conv1", "conv2")])
        values = np.zeros(graph.channels)
        values[free] = np.random.default_rng(0).permutation(14)
        lowest = free[np.argsort(values[free])[:5]]
        n1, n2 = (len(np.setdiff1d(nets.producer_channels(graph, name), lowest)) for name in ("conv1", "conv2"))
        left = 6 * 6 * 9 * 3 * n1 + 4 * 4 * 9 * n1 * n2 + n2 * 2
        keep = to_mask(graph, kt.plan(kt.Scores(graph, values), kt.Target(macs=left), rank="score"))
        assert set(np.flatnonzero(~keep)) == set(lowest)

    def test_saving_ranks_by_score_per_mac_by_hand(self):
        """A channel of conv1 saves 36 * 27 + 16 * 9 * 8 = 2124 of 12760 MACs, one of conv2 16 * 9 * 6 + 2 = 866."""
        graph = kt.trace(nets.chain())
        # 16 % are 2042 MACs: at equal scores a channel of conv1 is the best bargain, and is enough.
        equal = kt.plan(kt.Scores(graph, np.ones(graph.channels)), kt.Target(macs=0.84))
        assert {name: len(kept) for name, kept in equal.kept.items()} == {"conv1": 5}
        # Worth three times as much, it is not: 3 / 2042 > 1 / 866. Three channels of conv2 save 2598.
        values = np.ones(graph.channels)
        values[nets.producer_channels(graph, "conv1")] = 3.0
        dear = kt.plan(kt.Scores(graph, values), kt.Target(macs=0.84))
        assert {name: len(kept) for name, kept in dear.kept.items()} == {"conv2": 5, "pool": 5}

    def test_the_lowest_scores_of_a_layer_go(self, small):
        scores = nets.random_scores(small)
        plan = kt.plan(scores, kt.Target(macs=0.5))
        keep = to_mask(small, plan)
        for name, values in scores.by_layer().items():
            kept = keep[nets.producer_channels(small, name)]
            if not kept.all():
                assert values[kept].min() >= values[~kept].max()

    def test_negative_scores_go_first(self, small):
        values = np.ones(small.channels)
        negative = nets.producer_channels(small, "b")[:3]
        values[negative] = -1.0
        keep = to_mask(small, kt.plan(kt.Scores(small, values), kt.Target(macs=0.9)))
        assert not keep[negative].any()

    def test_it_is_deterministic(self, small):
        plans = [kt.plan(nets.random_scores(small), kt.Target(macs=0.5)) for _ in range(2)]
        assert plans[0] == plans[1]


class TestConstraints:
    def widths(self, plan, graph):
        return {name: len(plan.kept.get(name, ids)) for ids, name in graph.births}

    @pytest.mark.parametrize("round_to", [2, 4, 8])
    def test_round_to(self, small, round_to):
        plan = kt.plan(nets.random_scores(small), kt.Target(macs=0.5), kt.Constraints(round_to=round_to))
        full = {name: len(ids) for ids, name in small.births}
        shrunk = {name: n for name, n in self.widths(plan, small).items() if n < full[name]}
        assert shrunk
        assert all(n % round_to == 0 for n in shrunk.values())
        assert plan.after["macs"] <= 0.5 * small.macs

    def test_round_to_is_as_close_as_one_block_allows(self, small):
        plan = kt.plan(nets.random_scores(small), kt.Target(macs=0.6), kt.Constraints(round_to=4))
        keep = to_mask(small, plan)
        for group in small.groups:
            gone = group.channels[~keep[group.channels]]
            if len(gone) >= 4:
                more = keep.copy()
                more[gone[:4]] = True
                assert small.cost.totals(more)["macs"] > 0.6 * small.macs

    @pytest.mark.parametrize("least", [2, 5, 9])
    def test_min_channels(self, small, least):
        plan = kt.plan(nets.random_scores(small), kt.Target(macs=0.6), kt.Constraints(min_channels=least))
        full = {name: len(ids) for ids, name in small.births}
        assert all(n >= min(least, full[name]) for name, n in self.widths(plan, small).items())

    def test_a_layer_never_loses_its_last_channel(self, small):
        values = np.ones(small.channels)
        values[nets.producer_channels(small, "b")] = 0.0
        plan = kt.plan(kt.Scores(small, values), kt.Target(macs=0.3), rank="score")
        assert min(self.widths(plan, small).values()) >= 1

    @pytest.mark.parametrize("keep", [["b", "hidden"], lambda name: name in ("b", "hidden")])
    def test_keep(self, small, keep):
        plan = kt.plan(nets.random_scores(small), kt.Target(macs=0.6), kt.Constraints(keep=keep))
        assert "b" not in plan.kept and "hidden" not in plan.kept
        assert plan.kept

    def test_keeping_one_of_tied_layers_keeps_all(self, small):
        plan = kt.plan(nets.random_scores(small), kt.Target(macs=0.7), kt.Constraints(keep=["c"]))
        assert "a" not in plan.kept and "add" not in plan.kept

    @pytest.mark.parametrize(("bound", "least", "most"), [((6, 10), 6, 10), ((0.25, 0.5), 6, 12), ((24, 24), 24, 24)])
    def test_bounds(self, small, bound, least, most):
        plan = kt.plan(nets.random_scores(small), kt.Target(macs=0.6), kt.Constraints(bounds={"b": bound}))
        assert least <= self.widths(plan, small)["b"] <= most

    def test_an_upper_bound_holds_when_the_budget_is_met_anyway(self, small):
        plan = kt.plan(nets.random_scores(small), kt.Target(macs=1.0), kt.Constraints(bounds={"b": (1, 10)}))
        assert self.widths(plan, small)["b"] == 10
        assert set(plan.kept) == {"b"}

    UNREACHABLE = {
        "a locked layer": kt.Constraints(bounds={"logits": (1, 2)}),
        "a kept layer": kt.Constraints(keep=["b"], bounds={"b": (1, 10)}),
        "min_channels": kt.Constraints(min_channels=12, bounds={"b": (1, 10)}),
        "round_to": kt.Constraints(round_to=8, bounds={"b": (1, 5)}),
    }

    @pytest.mark.parametrize("what", UNREACHABLE)
    def test_an_upper_bound_that_cannot_be_met_is_an_error(self, small, what):
        with pytest.raises(kt.errors.InfeasibleTarget, match=r"bounds of (b|logits): asked at most"):
            kt.plan(nets.random_scores(small), kt.Target(macs=0.9), self.UNREACHABLE[what])


class TestInfeasible:
    def test_the_message_names_the_minimum_and_the_locks(self):
        graph = kt.trace(nets.chain())
        with pytest.raises(kt.errors.InfeasibleTarget) as caught:
            kt.plan(nets.random_scores(graph), kt.Target(macs=0.05))
        smallest = 6 * 6 * 9 * 3 * 1 + 4 * 4 * 9 * 1 * 1 + 1 * 2
        assert f"asked 638, smallest reachable {smallest:,} ({smallest / 12760:.3f} of all)" in str(caught.value)
        assert "logits (model output)" in str(caught.value)
        assert "loosen the constraints" in str(caught.value)
        assert kt.plan(nets.random_scores(graph), kt.Target(macs=smallest)).after["macs"] == smallest

    def test_constraints_make_it_infeasible(self, small):
        with pytest.raises(kt.errors.InfeasibleTarget, match="smallest reachable"):
            kt.plan(nets.random_scores(small), kt.Target(macs=0.2), kt.Constraints(keep=lambda name: True))

    def test_the_smallest_reachable_value_is_reachable(self, small):
        for constraints in (kt.Constraints(), kt.Constraints(round_to=4), kt.Constraints(min_channels=3)):
            with pytest.raises(kt.errors.InfeasibleTarget) as caught:
                kt.plan(nets.random_scores(small), kt.Target(macs=2), constraints)
            smallest = int(str(caught.value).split("smallest reachable ")[1].split(" ")[0].replace(",", ""))
            assert kt.plan(nets.random_scores(small), kt.Target(macs=smallest), constraints).after["macs"] == smallest


class TestValue:
    @pytest.fixture
    def plan(self, small):
        return kt.plan(nets.random_scores(small), kt.Target(macs=0.5))

    def test_kept_names_every_layer_whose_output_shrinks(self, plan):
        model = small_model()
        rebuilt = kt.rebuild(model, plan)
        for layer in model.layers:
            before, after = layer.output.shape[-1], rebuilt.get_layer(layer.name).output.shape[-1]
            assert len(plan.kept.get(layer.name, range(before))) == after

    def test_json_round_trip(self, plan, tmp_path):
        assert kt.PruningPlan.from_json(plan.to_json()) == plan
        plan.save(tmp_path / "plan.json")
        assert kt.PruningPlan.load(tmp_path / "plan.json") == plan
        assert json.loads(plan.to_json())["format"] == 1
        assert [path.name for path in tmp_path.iterdir()] == ["plan.json"]

    def test_it_is_immutable(self, plan):
        with pytest.raises(dataclasses.FrozenInstanceError):
            plan.kept = {}
        assert all(isinstance(kept, tuple) for kept in plan.kept.values())

    def test_it_does_not_follow_the_dictionary_that_it_was_made_from(self):
        kept = {"conv": [0, 2]}
        plan = kt.PruningPlan(kept)
        kept["conv"].append(3)
        kept["other"] = [1]
        assert plan.kept == {"conv": (0, 2)}

    def test_it_can_be_printed_before_anything_is_touched(self, plan):
        text = str(plan)
        assert "Plan for small" in text and "all macs" in text and f"{plan.after['macs']:,}" in text

    def test_masks_and_plans_are_two_sides(self, graph):
        rng = np.random.default_rng(0)
        keep = (rng.random(graph.channels) > 0.4) | (graph.locks != "")
        for group in graph.groups:
            if not keep[group.channels].any():
                keep[group.channels[0]] = True
        try:
            np.testing.assert_array_equal(to_mask(graph, from_mask(graph, keep)), keep)
        except kt.errors.PlanMismatch as error:
            assert "must keep a channel" in str(error)


class TestForeignPlans:
    def test_a_plan_of_another_model(self):
        plan = kt.plan(nets.random_scores(kt.trace(nets.chain(filters=7))), kt.Target(macs=0.5))
        with pytest.raises(kt.errors.PlanMismatch, match="Received: a plan for 'chain'"):
            kt.rebuild(nets.chain(), plan)
        with pytest.raises(kt.errors.PlanMismatch):
            kt.verify(nets.chain(), plan, nets.chain())

    MISMATCHES = {
        "contradicting ties": ({"stem": (0, 1), "outer": (2, 3)}, "Tied layers must keep the same channels"),
        "one tied layer says less": ({"stem": (0, 1, 2), "outer": (0, 1)}, "Tied layers must keep the same channels"),
        "an empty layer": ({"inner": ()}, "at least one"),
        "out of range": ({"inner": (0, 4)}, "within its 4 channels"),
        "negative": ({"inner": (-1, 2)}, "within its 4 channels"),
        "not ascending": ({"inner": (2, 1)}, "must be ascending"),
        "twice": ({"inner": (1, 1)}, "must be ascending"),
        "a locked layer": ({"logits": (0,)}, "must not remove locked channels. Received: one locked by 'model output'"),
    }

    @pytest.mark.parametrize("what", MISMATCHES)
    def test_plans_by_hand_are_checked(self, what):
        kept, text = self.MISMATCHES[what]
        with pytest.raises(kt.errors.PlanMismatch, match=text):
            kt.rebuild(nets.residual(), kt.PruningPlan(kept))

    def test_one_tied_layer_speaks_for_all(self):
        small = kt.rebuild(nets.residual(), kt.PruningPlan({"stem": (0, 2, 5)}))
        assert small.get_layer("outer").filters == small.get_layer("stem").filters == 3
        assert small.get_layer("stem_bn").gamma.shape == (3,)
