"""The bridge to tf_keras: it computes what the model computes, and rounds where LiteRT does."""

import keras
import numpy as np
import pytest

import keras_taylor as kt
from keras_taylor._keras.example_inputs import example_inputs
from keras_taylor._rebuild.verify import relative_error, run
from keras_taylor.quantizers._lowering import lower
from keras_taylor.quantizers._tf_keras_bridge import Bridge
from keras_taylor.rules import registered
from tests import nets
from tests.quantizers.models import varied

layers = keras.layers
RULES = sorted({rule: kind for kind, rule in registered().items()}.items(), key=lambda pair: type(pair[0]).__name__)


@pytest.fixture(scope="module")
def model():
    made = varied()
    made.compile("sgd", nets.CROSS_ENTROPY)
    return made


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    return rng.normal(size=(64, 8, 8, 3)).astype("float32"), rng.integers(0, 3, 64)


class TestBridge:
    @pytest.mark.parametrize(("rule", "kind"), RULES, ids=[type(rule).__name__ for rule, _ in RULES])
    def test_every_rule_has_a_tf_keras_form(self, rule, kind):
        """On the rule's own examples, tf_keras computes what Keras 3 computes."""
        for example in rule.examples():
            graph = kt.trace(nets.randomized(example))
            inputs = example_inputs(graph.program, seed=1)
            found = Bridge(graph).model(inputs, training=False)
            found = found if isinstance(found, (list, tuple)) else [found]
            assert relative_error(run(example, inputs), found) <= 1e-5

    def test_a_wrong_tf_keras_form_is_noticed(self, model, data, monkeypatch):
        (rule,) = {rule for rule, kind in RULES if kind is layers.LayerNormalization} or {None}
        net = nets.randomized(keras.Sequential([keras.Input((5,)), layers.Dense(4), layers.LayerNormalization(epsilon=0.1)]))
        wrong = kt.rules.TFKerasForm("LayerNormalization", {"epsilon": 1e-7}, ("gamma", "beta"))
        monkeypatch.setattr(type(rule), "tf_keras_form", lambda self, operation: (wrong,))
        with pytest.raises(kt.errors.ExportMismatch, match=r"The tf_keras form of .* must compute what the model computes"):
            kt.quantize(net, kt.Int8QAT((data[0][:4, 0, :5, 0], np.ones((4, 4))), loss="mse", epochs=0))

    def test_names_that_look_alike(self):
        x = inputs = keras.Input((6,))
        relu = layers.ReLU(name="relu")
        x = layers.Dense(4)(relu(layers.Dense(5)(relu(layers.Dense(5)(x)))))
        net = keras.Model(inputs, layers.ReLU(name="relu_2")(x))
        assert len(Bridge(kt.trace(net), quantized=True).ranges) == 4

    def test_weights_go_there_and_back(self, model):
        copy = kt.rebuild(model, kt.PruningPlan({}))
        bridge = Bridge(kt.trace(copy))
        for variable in bridge.model.variables:
            variable.assign(variable + 1.0)
        bridge.write_back()
        for old, new in zip(model.weights, copy.weights, strict=True):
            if "normalization" not in old.path.split("/")[0]:
                np.testing.assert_allclose(old.numpy() + 1.0, new.numpy(), rtol=1e-6)

    def test_rounding_happens_where_litert_rounds(self, model):
        rounds = {f"{node.call.name} {node.slot}" for node in lower(kt.trace(model)) if node.rounds}
        assert {"relu6 0", "separable 0", "separable 2", "excite 0", "add 0", "relu 0", "logits 0"} <= rounds
        assert not {"conv 0", "conv_bn 0", "alone 0", "gate 1", "average 0", "flatten 0", "dropout 0"} & rounds

    def test_a_layer_with_two_readers_is_rounded(self):
        x = inputs = keras.Input((8, 8, 3))
        x = layers.Conv2D(4, 3, name="conv")(x)
        net = keras.Model(inputs, layers.Add(name="sum")([layers.ReLU(name="relu")(x), x]))
        assert [node.call.name for node in lower(kt.trace(net)) if node.rounds] == ["conv", "relu", "sum"]
