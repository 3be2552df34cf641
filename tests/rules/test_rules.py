"""The contract test of every registered rule, and tests that it can fail."""

import ast
from pathlib import Path

import keras
import numpy as np
import pytest

import keras_taylor as kt
from keras_taylor._keras.example_inputs import example_inputs
from keras_taylor._plan.pruning_plan import to_mask
from keras_taylor._rebuild.verify import relative_error, run, silenced
from keras_taylor.rules import _base, conv, dense, normalization, registered, shaping

layers = keras.layers


def one_operation_per_rule():
    """For each rule object the first of its operations that its examples contain."""
    found = {}
    for rule in dict.fromkeys(registered().values()):
        used = {type(step.call.operation) for model in rule.examples() for step in kt.trace(model).steps}
        served = [kind for kind, other in registered().items() if other is rule and kind in used]
        found[type(rule).__name__] = served[0] if served else None
    return found


OPERATIONS = one_operation_per_rule()


@pytest.mark.parametrize("rule", OPERATIONS)
def test_rule_keeps_its_contract(rule):
    assert OPERATIONS[rule] is not None, f"no example of {rule} contains an operation that it serves"
    kt.testing.check_rule(OPERATIONS[rule], seeds=2)


@pytest.mark.large
@pytest.mark.parametrize("rule", OPERATIONS)
def test_rule_keeps_its_contract_for_many_plans(rule):
    kt.testing.check_rule(OPERATIONS[rule], seeds=12)


@pytest.mark.parametrize("rule", OPERATIONS)
def test_every_rule_has_examples(rule):
    assert list(registered()[OPERATIONS[rule]].examples())


@pytest.mark.parametrize("rule", OPERATIONS)
def test_the_oracle_notices_a_mask_shifted_by_one(rule):
    """Of each rule's examples, those from which a channel can be removed must differ when the mask is shifted."""
    noticed, possible = 0, 0
    for model in registered()[OPERATIONS[rule]].examples():
        kt.testing.randomize(model)
        graph = kt.trace(model)
        plan = kt.testing.random_plan(model, seed=1)
        keep = to_mask(graph, plan)
        wrong = kt.testing.shifted(graph, keep)
        if np.array_equal(keep, wrong):
            continue
        possible += 1
        inputs = example_inputs(graph.program, seed=0)
        small = run(kt.rebuild(model, plan), inputs)
        noticed += relative_error(silenced(graph, graph.keep_labels(wrong), inputs), small) > 1e-3
    assert noticed == possible
    if rule not in ("Normalization", "LayerNormalization"):
        assert possible


BROKEN = {
    "dense kernel not cut along its inputs": (layers.Dense, "weights", {"kernel": ". out", "bias": "out"}),
    "kernel axes swapped": (layers.Dense, "weights", {"kernel": "out in", "bias": "out"}),
    "config keeps the old number of units": (layers.Dense, "config", {}),
    "batch norm forgets a weight": (
        layers.BatchNormalization,
        "weights",
        {"gamma": "out", "beta": "out", "moving_mean": "out"},
    ),
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_declaration_fails_the_contract(what, monkeypatch):
    operation, attribute, value = BROKEN[what]
    monkeypatch.setattr(type(registered()[operation]), attribute, value)
    if what == "batch norm forgets a weight":
        # Weights that the rule does not name lock the layer: safe, but nothing can be removed.
        model = registered()[operation].examples()[0]
        assert "has weights that its rule does not name" in str(kt.trace(model).locked)
        return
    with pytest.raises((AssertionError, ValueError, IndexError, UserWarning)):
        kt.testing.check_rule(operation, seeds=2)


def test_a_convolution_that_swaps_two_outputs_fails_the_contract(monkeypatch):
    """The cost and all shapes stay right: only the comparison with the masked original can tell."""

    def convolve(self, call, given, labels):
        out = labels.mint(call, call.operation.filters)
        seen = out.copy()
        seen[:2] = out[1::-1]
        return _base.Trace((_base.Labels(given.axis, seen),), {"in": given.ids, "out": out}, consumes=True)

    monkeypatch.setattr(conv.SeparableConv, "convolve", lambda self, *a: convolve(self, *a))
    with pytest.raises((AssertionError, ValueError)):
        kt.testing.check_rule(layers.SeparableConv2D, seeds=4)


def test_a_depthwise_rule_that_tiles_instead_of_repeating_fails_the_contract(monkeypatch):
    def convolve(self, call, given, labels):
        out = np.tile(given.ids, call.operation.depth_multiplier)
        return _base.Trace((_base.Labels(given.axis, out),), {"in": given.ids, "out": out})

    monkeypatch.setattr(conv.DepthwiseConv, "convolve", convolve)
    with pytest.raises(AssertionError, match="rebuilt and masked differ"):
        kt.testing.check_rule(layers.DepthwiseConv2D, seeds=4)


def test_a_slice_rule_off_by_one_fails_the_contract(monkeypatch):
    remake = shaping.GetItem.remake

    def off_by_one(self, step, keep):
        made = remake(self, step, keep)
        for place, key in made.arguments.items():
            last = key[-1]
            if isinstance(last, slice) and last.start:
                moved = slice(last.start - 1, last.stop - 1)
                return _base.Remake(arguments={place: (*key[:-1], moved)})
        return made

    monkeypatch.setattr(shaping.GetItem, "remake", off_by_one)
    with pytest.raises(AssertionError, match="rebuilt and masked differ"):
        kt.testing.check_rule(registered_operation(shaping.GetItem), seeds=4)


def test_a_layer_norm_rule_that_ignores_the_mixing_fails_the_contract(monkeypatch):
    def declared(self, operation):
        return {name: "out" for name in ("gamma", "beta") if getattr(operation, name, None) is not None}

    monkeypatch.setattr(normalization.LayerNormalization, "weight_axes", declared)
    monkeypatch.setattr(normalization.LayerNormalization, "trace", _base.PassThrough.trace)
    with pytest.raises((AssertionError, ValueError)):
        kt.testing.check_rule(layers.LayerNormalization, seeds=2)


def test_a_wrong_cost_fails_the_contract(monkeypatch):
    """The cost that the plan promises is compared with that of the rebuilt model."""
    positions = dense.Dense.positions

    def lies(self, call):
        return positions(self, call) * (2 if call.operation.units % 2 else 1)

    monkeypatch.setattr(dense.Dense, "positions", lies)
    with pytest.raises(AssertionError, match="is not what the plan says"):
        kt.testing.check_rule(layers.Dense, seeds=4)


def test_check_rule_refuses_what_it_cannot_check():
    class Strange(layers.Layer):
        pass

    with pytest.raises(kt.errors.BadInput, match="Strange must have a rule"):
        kt.testing.check_rule(Strange)


def test_check_rule_needs_examples_with_the_operation(monkeypatch):
    monkeypatch.setattr(dense.Dense, "examples", lambda self: [])
    with pytest.raises(kt.errors.BadInput, match="must contain a Dense"):
        kt.testing.check_rule(layers.Dense)


def registered_operation(rule):
    return next(kind for kind, found in registered().items() if isinstance(found, rule))


class TestLookup:
    """Rules are found by class; whatever a subclass might have changed is not trusted."""

    def test_a_subclass_with_its_own_call_has_no_rule(self):
        class Doubled(layers.Dense):
            def call(self, x):
                return 2 * super().call(x)

        layer = Doubled(3)
        layer.build((None, 4))
        rule, reason = _base.rule_for(layer)
        assert rule is None and reason == "overrides the call of Dense and has no rule of its own"

    def test_a_subclass_without_its_own_call_is_served(self):
        class Named(layers.Dense):
            pass

        layer = Named(3)
        layer.build((None, 4))
        assert _base.rule_for(layer) == (registered()[layers.Dense], "")

    def test_a_weight_that_the_rule_does_not_name_is_not_overlooked(self):
        class Extra(layers.Dense):
            def build(self, shape):
                super().build(shape)
                self.extra = self.add_weight(shape=(3,), name="extra")

        layer = Extra(3)
        layer.build((None, 4))
        assert _base.rule_for(layer) == (None, "has weights that its rule does not name")

    def test_lora_is_not_overlooked(self):
        layer = layers.Dense(3)
        layer.build((None, 4))
        layer.enable_lora(2)
        assert _base.rule_for(layer)[0] is None

    def test_registering_a_rule(self, monkeypatch):
        monkeypatch.setattr(_base, "_REGISTRY", dict(_base._REGISTRY))

        @keras.saving.register_keras_serializable("tests")
        class ChannelScale(layers.Layer):
            def build(self, shape):
                self.scale = self.add_weight(shape=shape[-1:], initializer="ones", name="scale")

            def call(self, x):
                return x * self.scale

        net = [keras.Input((6, 6, 3)), layers.Conv2D(6, 3), ChannelScale(), layers.Conv2D(4, 1)]
        assert "ChannelScale) has no rule" in str(kt.trace(keras.Sequential(net)).locked)

        @kt.register_rule(ChannelScale)
        class ChannelScaleRule(kt.rules.PassThrough):
            weights = {"scale": "out"}

            def examples(self):
                return [keras.Sequential([keras.Input((6, 6, 3)), layers.Conv2D(6, 3), ChannelScale(), layers.Conv2D(4, 1)])]

        kt.testing.check_rule(ChannelScale)

    def test_a_rule_without_trace_says_so(self):
        with pytest.raises(TypeError, match="must define trace"):
            kt.LayerRule().trace(None, None)


def test_contracts_hold_under_python_with_optimisation():
    """`python -O` leaves `assert` out."""
    tree = ast.parse(Path(kt.testing.__file__).read_text(encoding="utf-8"))
    assert not [node for node in ast.walk(tree) if isinstance(node, ast.Assert)]
    assert set(kt.testing.__all__) <= set(vars(kt.testing))
