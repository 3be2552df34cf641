"""What rules declare for others to ask: what repair and folding know of an operation, and the table of what is supported."""

import re

import keras
import numpy as np
import pytest

import keras_taylor as kt
from keras_taylor._keras.operations import operation
from keras_taylor.rules import UNCLIPPED, __main__, _registry, registered, rule_for, supported
from tests.layout import PACKAGE

layers = keras.layers
INF = np.inf


@pytest.mark.parametrize(
    ("layer", "clips"),
    [
        (layers.ReLU(), (0, INF)),
        (layers.ReLU(6.0), (0, 6)),
        (layers.ReLU(negative_slope=0.1), None),
        (layers.ReLU(threshold=1.0), None),
        (layers.LeakyReLU(), None),
        (layers.ELU(), None),
        (layers.Activation("relu"), (0, INF)),
        (layers.Activation("relu6"), (0, 6)),
        (layers.Activation("linear"), UNCLIPPED),
        (layers.Activation("sigmoid"), None),
        (layers.Conv2D(2, 1, activation="relu"), None),
        (layers.MaxPooling2D(), None),
        (operation("Relu")(), (0, INF)),
        (operation("Relu6")(), (0, 6)),
        (operation("Gelu")(), None),
    ],
    ids=lambda one: getattr(one, "name", str(one)),
)
def test_clip_range(layer, clips):
    assert registered()[type(layer)].clip_range(layer) == clips


@pytest.mark.parametrize(
    ("activation", "clips"),
    [
        (None, UNCLIPPED),
        ("linear", UNCLIPPED),
        ("relu", (0, INF)),
        (layers.ReLU(6.0), (0, 6)),
        ("gelu", None),
        (layers.ELU(), None),
    ],
)
@pytest.mark.parametrize("kind", [layers.Dense, lambda n, activation: layers.Conv2D(n, 1, activation=activation)])
def test_activation_range(kind, activation, clips):
    layer = kind(2, activation=activation)
    assert registered()[type(layer)].activation_range(layer) == clips


def test_what_is_not_declared_is_taken_to_be_the_worst():
    rule = kt.rules.PassThrough()
    layer = layers.Layer()
    assert not rule.identity_in_inference and not rule.adds_inputs and not rule.linear_pieces
    assert rule.clip_range(layer) is None and rule.batch_statistics(layer) is None and rule.linear(layer) is None


def test_identities_and_sums():
    identities = {kind.__name__ for kind, rule in registered().items() if rule.identity_in_inference}
    noise = {"AlphaDropout", "Dropout", "GaussianDropout", "GaussianNoise"}
    noise |= {"SpatialDropout1D", "SpatialDropout2D", "SpatialDropout3D", "StochasticDepth"}
    assert identities == noise | {"ActivityRegularization", "Identity"}
    assert {kind for kind, rule in registered().items() if rule.adds_inputs} == {layers.Add, operation("Add")}


@pytest.mark.parametrize("kind", [kind for kind, rule in registered().items() if rule.identity_in_inference])
def test_identities_pass_their_input_on(kind):
    layer = {"ActivityRegularization": lambda: kind(), "Identity": lambda: kind()}.get(kind.__name__, lambda: kind(0.5))()
    shape = (2, *(3,) * (int(kind.__name__[-2]) if kind.__name__.endswith("D") else 1), 4)
    x = np.random.default_rng(0).normal(size=shape).astype("float32")
    np.testing.assert_array_equal(layer(x, training=False), x)


@pytest.mark.parametrize("options", [{}, {"scale": False}, {"center": False}])
def test_batch_statistics_are_the_affine_map(options):
    layer = layers.BatchNormalization(**options)
    layer.build((None, 5))
    rng = np.random.default_rng(0)
    for weight in layer.weights:
        weight.assign(rng.uniform(0.5, 2.0, 5))
    found = registered()[layers.BatchNormalization].batch_statistics(layer)
    x = rng.normal(size=(3, 5)).astype("float32")
    expected = (x - found.mean) / np.sqrt(found.variance + found.epsilon)
    expected = expected * (1 if found.gamma is None else found.gamma) + (0 if found.beta is None else found.beta)
    np.testing.assert_allclose(layer(x, training=False), expected, rtol=1e-5)
    assert found.axis == -1


def test_only_rules_know_classes_of_layers():
    """Who asks what an operation does asks its rule."""
    found = []
    for folder in ("_trace", "_record", "_rebuild", "_repair"):
        for path in sorted((PACKAGE / folder).glob("*.py")):
            text = re.sub(r"^ *(>>>|\.\.\.).*$", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
            found += [f"{path.name}: {name}" for name in re.findall(r"keras\.(?:layers|activations)\.\w+", text)]
    assert [name for name in found if not name.startswith("gate.py")] == []  # the layer of `kt.wrap`


class TestOldNames:
    def test_legacy_is_the_form_in_tf_keras(self):
        with pytest.warns(DeprecationWarning, match="kt.rules.TFKerasForm now"):
            assert kt.rules.Legacy is kt.rules.TFKerasForm
        with pytest.warns(DeprecationWarning, match="kt.rules.TFKerasForm now"):
            assert kt.Legacy is kt.rules.TFKerasForm
        for module in (kt, kt.rules):
            with pytest.raises(AttributeError, match="has no attribute 'Nothing'"):
                _ = module.Nothing

    def test_a_rule_with_old_names_still_works(self, monkeypatch):
        monkeypatch.setattr(_registry, "_REGISTRY", dict(_registry._REGISTRY))

        class Mine(layers.Layer):
            pass

        class MineRule(kt.rules.PassThrough):
            straight = True
            legacy_scale = "input"

            def legacy(self, operation):
                return (kt.rules.TFKerasForm("Mine"),)

        with pytest.warns(DeprecationWarning) as said:
            kt.register_rule(Mine)(MineRule)
        assert [str(one.message).split(" of ")[0] for one in said] == ["straight", "legacy", "legacy_scale"]
        rule, _ = rule_for(Mine())
        assert rule.linear_pieces and rule.tf_keras_scale == "input"
        assert rule.tf_keras_form(None)[0].kind == "Mine"


class TestSupported:
    def test_every_registered_class_is_in_it(self):
        table = supported()
        assert sum(len(one.operations) for one in table) == len(registered())
        assert len(table) == len(dict.fromkeys(registered().values()))
        assert all(one.summary.endswith((".", ":")) for one in table)
        served = {name: one.rule for one in table for name in one.operations}
        assert served["Conv2D"] == "Conv" and served["ops.relu"] == "UnaryOperation" and served["ops.add"] == "Addition"

    def test_yours_are_too(self, monkeypatch):
        monkeypatch.setattr(_registry, "_REGISTRY", dict(_registry._REGISTRY))

        class Mine(layers.Layer):
            pass

        @kt.register_rule(Mine)
        class MineRule(kt.rules.PassThrough):
            """Does little.

            And that well.
            """

        assert kt.rules.Supported("MineRule", "Does little.", ("Mine",)) in supported()

    def test_it_is_printed(self, capsys):
        __main__.main()
        lines = capsys.readouterr().out.splitlines()
        assert lines[0] == "| rule | what it says | operations |"
        assert len(lines) == 2 + len(supported())
        assert any(line.startswith("| Conv | ") and "Conv1D, Conv2D, Conv3D" in line for line in lines)
