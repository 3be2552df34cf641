"""Repair: the linear views of layers, the normal equations, and what repair may and may not change."""

from dataclasses import dataclass
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_taylor as kt
from keras_taylor._output.results import Result
from keras_taylor._plan.pruning_plan import to_mask
from keras_taylor._repair import batchnorm as statistics_module
from keras_taylor._repair import consumers as consumers_module
from keras_taylor._repair import refit as module
from keras_taylor._repair.judging import Judging
from keras_taylor._repair.normal_equations import NormalEquations
from keras_taylor._repair.window_rows import Rows
from keras_taylor.rules import _base as rules_base
from keras_taylor.rules import rule_for

layers = keras.layers
RNG = np.random.default_rng(0)

LINEAR = [
    ((9, 4), layers.Conv1D(6, 3, padding="causal", dilation_rate=2)),
    ((9, 4), layers.Conv1D(6, 4, strides=2, padding="same")),
    ((8, 7, 4), layers.Conv2D(6, (3, 2), padding="same", strides=2)),
    ((8, 7, 4), layers.Conv2D(6, 3, dilation_rate=2)),
    ((8, 7, 4), layers.Conv2D(6, 3, groups=2, padding="same")),
    ((4, 5, 4, 4), layers.Conv3D(6, 2, padding="same")),
    ((6, 4), layers.Conv1DTranspose(6, 3, strides=2, padding="same")),
    ((5, 4, 4), layers.Conv2DTranspose(6, 3, strides=2)),
    ((5, 4, 4), layers.Conv2DTranspose(6, (3, 2), strides=(2, 3), padding="same")),
    ((8, 7, 4), layers.SeparableConv2D(6, 3, padding="same", depth_multiplier=2)),
    ((9, 4), layers.SeparableConv1D(6, 3, strides=2)),
    ((8, 7, 3), layers.DepthwiseConv2D(3, padding="same", depth_multiplier=2)),
    ((9, 3), layers.DepthwiseConv1D(3, strides=2, depth_multiplier=2)),
    ((4,), layers.Dense(6)),
    ((5, 4), layers.Dense(6)),
    ((5, 4), layers.EinsumDense("abc,cd->abd", output_shape=(None, 6), bias_axes="d")),
    ((5, 4), layers.EinsumDense("...x,yx->...y", output_shape=6, bias_axes="y")),
]


@pytest.mark.parametrize(("shape", "layer"), LINEAR, ids=lambda one: getattr(one, "name", ""))
def test_rows_times_matrix_is_the_layer(shape, layer):
    x = RNG.normal(size=(3, *shape)).astype("float32")
    layer.build((None, *shape))
    layer.bias.assign(RNG.normal(size=layer.bias.shape))
    linear = rule_for(layer)[0].linear(layer)
    rows = Rows(linear)
    kernel = getattr(layer, linear.kernel).numpy()
    matrix = linear.to_matrix(kernel)
    positions = rows.positions(shape[:-1], 10**9, RNG)
    product = np.concatenate([part @ one for part, one in zip(rows.read(x, positions), matrix, strict=True)], axis=-1)
    expected = np.asarray(layer(x)) - layer.bias.numpy()
    assert np.allclose(product, expected.reshape(-1, 6), atol=1e-4)
    assert np.array_equal(linear.from_matrix(kernel, matrix), kernel)


def test_normal_equations_are_least_squares():
    x, y = RNG.normal(size=(50, 3)) + 2.0, RNG.normal(size=(50, 2)) + 5.0
    sums = NormalEquations(3, 2)
    sums.add(x[:20], y[:20])
    sums.add(x[20:], y[20:])
    found = sums.solve(np.zeros((3, 2)), 0.0, True, "layer")
    expected = np.linalg.lstsq(np.column_stack([x, np.ones(50)]), y, rcond=None)[0]
    assert np.allclose(found, expected[:3])
    assert np.allclose(sums.shift(found), expected[3])


def test_a_strong_ridge_keeps_the_weights_and_a_singular_fit_is_said():
    x, old = np.ones((4, 2)), np.array([[1.0], [3.0]])
    sums = NormalEquations(2, 1)
    sums.add(x, x @ np.array([[2.0], [4.0]]))
    assert np.allclose(sums.solve(old, 1e9, False, "layer"), old, atol=1e-6)
    with pytest.warns(UserWarning, match=r"fit of layer is singular \(4 rows for 2 unknowns"):
        found = sums.solve(old, 0.0, False, "layer")
    assert np.allclose(x @ found, 6.0)


def residual_net(frozen=(), width=8):
    x = inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(8, 3, padding="same", activation="relu", name="stem")(x)
    y = layers.Conv2D(width, 3, padding="same", use_bias=False, name="conv1")(x)
    y = layers.ReLU()(layers.BatchNormalization(name="norm1")(y))
    y = layers.Conv2D(8, 3, padding="same", use_bias=False, name="conv2")(y)
    x = layers.ReLU()(layers.Add()([layers.BatchNormalization(name="norm2")(y), x]))
    x = layers.GlobalAveragePooling2D()(x)
    model = keras.Model(inputs, layers.Dense(5, name="logits")(x))
    kt.testing.randomize(model)
    for name in frozen:
        model.get_layer(name).trainable = False
    return model


IMAGES = RNG.normal(size=(120, 8, 8, 3)).astype("float32")


@pytest.mark.parametrize("method", ["bias", "lstsq", "auto"])
def test_repair_brings_outputs_closer_and_touches_nothing_else(method):
    model = residual_net()
    plan = kt.PruningPlan({"conv1": (0, 1, 2, 3, 5)})
    small = kt.rebuild(model, plan)
    before = [w.copy() for w in (*small.get_weights(), *model.get_weights())]
    fixed = kt.repair(model, plan, small, IMAGES, method=method)
    assert fixed.methods
    assert next(one for one in fixed.attempts if one.methods == fixed.methods).error < fixed.attempts[0].error
    assert [w.shape for w in fixed.model.get_weights()] == [w.shape for w in small.get_weights()]
    assert all(map(np.array_equal, before, (*small.get_weights(), *model.get_weights())))
    assert np.array_equal(fixed.model.get_layer("conv1").kernel, small.get_layer("conv1").kernel)  # its inputs lost nothing
    again = kt.repair(model, plan, small, IMAGES, method=method)
    assert all(map(np.array_equal, fixed.model.get_weights(), again.model.get_weights()))
    assert "none" in str(fixed)


def test_layers_behind_a_change_are_refitted_and_locked_ones_are_not():
    x = inputs = keras.Input((8, 8, 3))
    for name in ("first", "second", "third"):
        x = layers.Conv2D(6, 3, padding="same", activation="relu", name=name)(x)
    x = layers.Softmax()(x)  # locks what it mixes
    x = layers.Conv2D(4, 1, name="behind")(x)
    model = keras.Model(inputs, layers.GlobalAveragePooling2D()(x))
    kt.testing.randomize(model)
    plan = kt.PruningPlan({"first": (0, 1, 2, 3)})
    small = kt.rebuild(model, plan)
    fixed = kt.repair(model, plan, small, IMAGES, method="lstsq").model
    changed = {a.name for a, b in zip(small.layers, fixed.layers, strict=True) if not same(a, b)}
    assert changed == {"second", "third"}


def same(a, b):
    return all(map(np.array_equal, a.get_weights(), b.get_weights()))


@pytest.mark.parametrize("kind", ["own", "norm", "relu6"])
def test_what_an_activation_hides_need_not_be_met(kind):
    x = inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(8, 3, activation="relu", name="first")(x)
    x = layers.Conv2D(6, 3, activation="relu" if kind == "own" else None, name="second")(x)
    x = {"own": layers.Identity(), "norm": layers.BatchNormalization(), "relu6": layers.Dropout(0.1)}[kind](x)
    x = x if kind == "own" else layers.ReLU(6.0 if kind == "relu6" else None)(x)
    model = keras.Model(inputs, x)
    kt.testing.randomize(model)
    model.get_layer("second").bias.assign(np.full(6, -0.7))
    if kind == "relu6":
        model.get_layer("second").kernel.assign(20 * model.get_layer("second").kernel)
    plan = kt.PruningPlan({"first": (0, 1, 2)})
    small, many = kt.rebuild(model, plan), np.random.default_rng(0).normal(size=(600, 8, 8, 3))
    plain, aimed = (
        kt.repair(model, plan, small, many, method=kt.repairs.LeastSquares(rows=0, activation=activation)).attempts[-1].error
        for activation in (False, True)
    )
    assert aimed < 0.97 * plain


def distance(model, fixed, x=None):
    x = IMAGES if x is None else x
    return ((model.predict(x, verbose=0) - fixed.predict(x, verbose=0)) ** 2).mean()


@pytest.mark.parametrize("seed", range(3))
def test_auto_is_never_worse_than_no_repair(seed):
    model = residual_net()
    plan = kt.testing.random_plan(model, seed)
    small = kt.rebuild(model, plan)
    fixed = kt.repair(model, plan, small, IMAGES, seed=seed)
    assert distance(model, fixed.model) <= distance(model, small)


@pytest.mark.parametrize("method", ["lstsq", "bias", "batchnorm"])
def test_nothing_removed_changes_nothing(method, monkeypatch):
    # As if everything had changed: otherwise nothing would be refitted at all.
    everything = lambda graph, keep: {id(step) for step in graph.steps}  # noqa: E731
    for where in (consumers_module, statistics_module):
        monkeypatch.setattr(where, "changed_steps", everything)
    model, plan = residual_net(), kt.PruningPlan({})
    assert len(consumers_module.consumers(kt.trace(model), np.ones(99, bool), kt.trace(model), False)) == 4
    fixed = kt.repair(model, plan, kt.rebuild(model, plan), IMAGES, method=method)
    assert all(np.allclose(a, b, atol=1e-5) for a, b in zip(model.get_weights(), fixed.model.get_weights(), strict=True))


@pytest.mark.parametrize("where", ["stem", "conv1"])
def test_exact_copies_of_kept_channels_are_restored(where):
    model = residual_net()
    if where == "stem":  # tied with conv2 in the sum: the copies must be copies in all members
        for name in ("stem", "conv2"):
            layer = model.get_layer(name)
            kernel = layer.kernel.numpy()
            kernel[..., 4:] = kernel[..., :4]
            layer.kernel.assign(kernel)
        weights = [*model.get_layer("norm2").weights, model.get_layer("stem").bias]
    else:
        layer = model.get_layer("conv1")
        kernel = layer.kernel.numpy()
        kernel[..., 4:] = kernel[..., :4]
        layer.kernel.assign(kernel)
        weights = model.get_layer("norm1").weights
    for weight in weights:
        value = weight.numpy()
        value[4:] = value[:4]
        weight.assign(value)
    keep = (0, 1, 2, 3)
    plan = kt.PruningPlan({"stem": keep, "conv2": keep} if where == "stem" else {"conv1": keep})
    small = kt.rebuild(model, plan)
    fixed = kt.repair(model, plan, small, IMAGES, method=kt.repairs.LeastSquares(ridge=1e-9))
    expected = model.predict(IMAGES, verbose=0)
    scale = np.abs(expected).max()
    assert np.abs(small.predict(IMAGES, verbose=0) - expected).max() > 1e-2 * scale
    assert np.abs(fixed.model.predict(IMAGES, verbose=0) - expected).max() <= 1e-4 * scale


def test_bias_makes_up_for_a_constant_channel():
    model = keras.Sequential([keras.Input((6, 6, 2)), layers.Conv2D(4, 1, name="a"), layers.Conv2D(3, 3, name="b")])
    kernel, bias = model.get_layer("a").kernel.numpy(), np.array([0.1, -0.2, 0.3, 0.7], "float32")
    kernel[..., 3] = 0
    model.get_layer("a").kernel.assign(kernel)
    model.get_layer("a").bias.assign(bias)
    plan = kt.PruningPlan({"a": (0, 1, 2)})
    x = RNG.normal(size=(40, 6, 6, 2)).astype("float32")
    fixed = kt.repair(model, plan, kt.rebuild(model, plan), x, method="bias")
    assert np.allclose(fixed.model.predict(x, verbose=0), model.predict(x, verbose=0), atol=1e-5)
    folded = model.get_layer("b").bias.numpy() + 0.7 * model.get_layer("b").kernel.numpy()[:, :, 3].sum((0, 1))
    assert np.allclose(fixed.model.get_layer("b").bias, folded, atol=1e-5)


def test_frozen_layers_are_refitted_only_if_asked():
    model = residual_net(frozen=["conv2"])
    plan = kt.PruningPlan({"conv1": (0, 1, 2, 3, 5)})
    small = kt.rebuild(model, plan)
    untouched = kt.repair(model, plan, small, IMAGES, method="lstsq").model
    asked = kt.repair(model, plan, small, IMAGES, method="lstsq", frozen=True).model
    assert np.array_equal(untouched.get_layer("conv2").kernel, small.get_layer("conv2").kernel)
    assert not np.allclose(asked.get_layer("conv2").kernel, small.get_layer("conv2").kernel)


def test_a_shared_layer_is_refitted_on_all_of_its_calls():
    shared = layers.Conv2D(6, 3, padding="same", activation="relu", name="shared")
    inputs = keras.Input((8, 8, 6))
    x = layers.GlobalAveragePooling2D()(shared(shared(layers.Conv2D(6, 1, name="first")(inputs))))
    model = keras.Model(inputs, layers.Dense(2, name="head")(x))
    kt.testing.randomize(model)
    plan = kt.testing.random_plan(model, 0)
    fixed = kt.repair(model, plan, kt.rebuild(model, plan), RNG.normal(size=(60, 8, 8, 6)), method="lstsq")
    assert fixed.attempts[-1].error < fixed.attempts[0].error


def test_prune_without_labels_scores_and_repairs():
    model = residual_net()
    result = kt.prune(model, IMAGES, target=kt.Target(macs=0.6), batch_size=64, verbose=0)
    assert kt.trace(result.model).macs <= 0.6 * kt.trace(model).macs
    assert result.report.settings["repair"] == "auto"
    assert result.repair.methods
    assert sum(result.repair.examples) == len(IMAGES)
    assert distance(model, result.model) < 0.7 * distance(model, kt.rebuild(model, result.plan))


def test_sampled_labels_need_no_labels_and_are_seeded():
    model = residual_net()
    model.compile(loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    a, b, c = (kt.score(model, IMAGES, labels="sampled", seed=seed).values for seed in (0, 0, 1))
    assert np.array_equal(a, b)
    assert not np.array_equal(a, c)


def test_more_draws_of_labels_are_steadier():
    model = residual_net()
    model.compile(loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    many = kt.score(model, IMAGES, labels="sampled", draws=64, seed=9)
    one, four = (
        [np.abs(kt.score(model, IMAGES, labels="sampled", draws=n, seed=s).values - many.values).mean() for s in range(4)]
        for n in (1, 4)
    )
    assert np.mean(four) < np.mean(one)
    assert many.settings["examples"] == len(IMAGES)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("images")
    for number in range(24):
        image = tf.constant(RNG.integers(0, 256, (8, 8, 3)), tf.uint8)
        tf.io.write_file(str(path / f"{number}.png"), tf.io.encode_png(image))
    return path


@pytest.mark.parametrize("kind", ["folder", "dataset", "pairs"])
def test_prune_takes_data_without_labels_as_it_comes(kind, folder):
    model = residual_net()
    if kind == "folder":
        data = keras.utils.image_dataset_from_directory(folder, labels=None, image_size=(8, 8), batch_size=8, verbose=False)
        data = data.map(lambda image: image / 127.5 - 1)
    else:
        data = tf.data.Dataset.from_tensor_slices((IMAGES,) if kind == "pairs" else IMAGES).batch(16)
    result = kt.prune(model, data, target=kt.Target(macs=0.6), recipe=kt.Recipe(repair="lstsq"), verbose=0)
    assert kt.trace(result.model).macs <= 0.6 * kt.trace(model).macs


def test_repair_in_mixed_precision():
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model = residual_net()
    finally:
        keras.config.set_dtype_policy("float32")
    plan = kt.PruningPlan({"conv1": (0, 1, 2, 3, 5)})
    fixed = kt.repair(model, plan, kt.rebuild(model, plan), IMAGES, method="lstsq")
    assert fixed.attempts[-1].error < 0.5 * fixed.attempts[0].error
    assert fixed.model.get_layer("conv2").dtype_policy.name == "mixed_float16"
    assert fixed.model.get_layer("conv2").kernel.dtype == "float32"


def test_a_progress_bar_counts_the_layers(capsys):
    _bad(method="lstsq", verbose=1)
    assert "Repair: lstsq" in capsys.readouterr().out


@pytest.mark.filterwarnings("ignore:.*'logits'")
def test_fewer_rows_than_unknowns_raise_the_ridge():
    model, plan = residual_net(width=16), kt.PruningPlan({"conv1": tuple(range(15))})
    with pytest.warns(
        UserWarning, match=r"fit of 'conv2' has 64 rows for 135 unknowns: its ridge is raised from 0.001 to 0.211"
    ):
        kt.repair(model, plan, kt.rebuild(model, plan), IMAGES[:2], method="lstsq")


@pytest.mark.filterwarnings("ignore:.*at 'norm1', their mean")
def test_constant_inputs_name_the_layer():
    model, plan = residual_net(), kt.PruningPlan({"conv1": (0, 1, 2, 3, 5)})
    model.get_layer("norm1").gamma.assign(np.zeros(8))
    with pytest.warns(UserWarning, match=r"inputs of 'conv2' do not vary over the examples: its kernel is kept"):
        fixed = kt.repair(model, plan, kt.rebuild(model, plan), IMAGES, method="lstsq")
    kept = model.get_layer("conv2").kernel.numpy()[:, :, [0, 1, 2, 3, 5]]
    assert np.array_equal(fixed.model.get_layer("conv2").kernel, kept)


def test_images_of_another_range_are_noticed():
    with pytest.warns(
        UserWarning, match=r"look different from those of training: at 'norm1', values are .*their mean is [\d.]+ standard"
    ):
        _bad(method="bias", x=127.5 * (IMAGES + 1))


def two_inputs():
    z, a = keras.Input((6,), name="zeta"), keras.Input((6,), name="alpha")
    x = layers.Concatenate()([layers.Dense(16, activation="relu")(z), layers.Dense(16, activation="tanh")(a)])
    model = keras.Model([z, a], layers.Dense(3)(layers.Dense(16, activation="relu", name="wide")(x)))
    kt.testing.randomize(model)
    return model


def test_inputs_go_by_name_as_for_predict():
    model, plan = two_inputs(), kt.PruningPlan({"wide": tuple(range(8))})
    zeta, alpha = RNG.normal(size=(2, 200, 6)).astype("float32")
    alpha = 5 + 3 * alpha
    small = kt.rebuild(model, plan)
    named, listed = (
        kt.repair(model, plan, small, data, method="lstsq").model for data in ({"zeta": zeta, "alpha": alpha}, ([zeta, alpha],))
    )
    assert all(map(np.array_equal, named.get_weights(), listed.get_weights()))


@pytest.mark.parametrize("kind", ["constant", "other axis"])
def test_what_cannot_be_followed_is_not_fitted_towards(kind):
    x = inputs = keras.Input((6, 6, 3))
    x = layers.Conv2D(8, 3, padding="same", activation="relu", name="first")(x)
    x = layers.Conv2D(6, 3, padding="same", name="second")(x)
    x = layers.ReLU()(x + 3.0 if kind == "constant" else layers.BatchNormalization(axis=1)(x))
    model = keras.Model(inputs, x)
    kt.testing.randomize(model)
    plan = kt.PruningPlan({"first": (0, 1, 2, 3)})
    small, images = kt.rebuild(model, plan), IMAGES[:, :6, :6]
    with_it, without = (
        kt.repair(model, plan, small, images, method=kt.repairs.LeastSquares(activation=a)).model for a in (True, False)
    )
    assert all(map(np.array_equal, with_it.get_weights(), without.get_weights()))
    assert distance(model, with_it, images) < distance(model, small, images)


@pytest.mark.parametrize("declared", [True, False])
def test_a_layer_of_yours_that_does_nothing_in_inference_ends_no_chain(declared, monkeypatch):
    """One declaration: what comes behind it is found as if it were not there."""
    monkeypatch.setattr(rules_base, "_REGISTRY", dict(rules_base._REGISTRY))

    class Jitter(layers.Layer):
        def call(self, x, training=False):
            return x + keras.random.normal(keras.ops.shape(x)) if training else x

    @kt.register_rule(Jitter)
    class JitterRule(kt.rules.PassThrough):
        identity_in_inference = declared

    x = inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(8, 3, padding="same", activation="relu", name="first")(x)
    y = layers.Conv2D(8, 3, padding="same", name="second")(x)
    y = Jitter()(layers.BatchNormalization(name="norm")(y))
    x = layers.ReLU()(Jitter()(layers.Add(name="sum")([y, x])))
    model = keras.Model(inputs, layers.Conv2D(2, 1, name="out")(x))
    kt.testing.randomize(model)
    plan = kt.PruningPlan({"first": (0, 1, 2, 3), "second": (0, 1, 2, 3)})
    graph, small = kt.trace(model), kt.trace(kt.rebuild(model, plan))
    second, out = consumers_module.consumers(graph, graph.keep_labels(to_mask(graph, plan)), small, False)
    assert (second.name, out.name) == ("second", "out") and second.norm is not None
    assert (second.clip_range == (0, np.inf)) == declared
    assert (second.residual is not None and second.residual.call[0].name == "sum") == declared


class TestTraces:
    """A trace is what repair does most often, and costs most on deep nets."""

    @pytest.fixture
    def traced(self, monkeypatch):
        """The models that are traced, in order."""
        models, init = [], kt.ChannelGraph.__init__

        def counted(self, model, *rest):
            models.append(model)
            init(self, model, *rest)

        monkeypatch.setattr(kt.ChannelGraph, "__init__", counted)
        return models

    # The original, `small`, and one copy for each combination of methods.
    @pytest.mark.parametrize(("method", "count"), [("auto", 2 + 4), ("lstsq", 2 + 1), (("lstsq", "batchnorm"), 2 + 2)])
    @pytest.mark.parametrize("given", ["model", "graph"])
    def test_each_model_is_traced_once(self, method, count, given, traced):
        model, plan = residual_net(), kt.PruningPlan({"conv1": (0, 1, 2, 3, 5)})
        small = kt.rebuild(model, plan)
        first = kt.trace(model) if given == "graph" else model
        traced.clear()
        kt.repair(first, plan, small, IMAGES, method=method, verbose=0)
        assert len({id(one) for one in traced}) == len(traced) == (count if given == "model" else count - 1)
        assert sum(one is model for one in traced) == (given == "model")

    def test_a_graph_stands_for_its_model(self, traced):
        model, plan = residual_net(), kt.PruningPlan({"conv1": (0, 1, 2, 3, 5)})
        graph = kt.trace(model)
        small = kt.rebuild(graph, plan)
        assert kt.verify(graph, plan, small).ok
        assert len(traced) == 1
        a, b = (kt.repair(one, plan, small, IMAGES, method="lstsq", verbose=0).model for one in (graph, model))
        assert all(map(np.array_equal, a.get_weights(), b.get_weights()))


class TestArguments:
    def test_data_is_called_x_now(self):
        model, plan = residual_net(), kt.PruningPlan({"conv1": (0, 1, 2, 3, 5)})
        small = kt.rebuild(model, plan)
        with pytest.warns(DeprecationWarning, match="data= of repair is called x= now"):
            old = kt.repair(model, plan, small, data=IMAGES, method="bias", verbose=0)
        new = kt.repair(model, plan, small, IMAGES, method="bias", verbose=0)
        assert all(map(np.array_equal, old.model.get_weights(), new.model.get_weights()))

    @pytest.mark.parametrize("method", ["lstsq", ("lstsq", "batchnorm")])
    def test_a_method_in_the_place_of_x_is_noticed(self, method):
        with pytest.raises(kt.errors.BadInput, match=r"x must be inputs .* Pass the method by name: method="):
            kt.repair(None, kt.PruningPlan({}), None, method)

    def test_options_go_by_name(self):
        with pytest.raises(TypeError, match="positional"):
            kt.repair(None, kt.PruningPlan({}), None, IMAGES, "lstsq")

    @pytest.mark.parametrize(("name", "value"), [("examples", 0), ("examples", True)])
    def test_numbers_are_whole(self, name, value):
        with pytest.raises(kt.errors.BadInput, match=f"{name} must be a whole number of at least"):
            _bad(**{name: value})

    @pytest.mark.parametrize(
        ("kind", "options", "text"),
        [
            ("LeastSquares", {"rows": -1}, "rows must be a whole number of at least 0"),
            ("Bias", {"rows": 2.5}, "rows must be a whole number of at least 0"),
            ("LeastSquares", {"ridge": -1.0}, "ridge must be above 0 and finite"),
            ("LeastSquares", {"ridge": "strong"}, "ridge must be above 0 and finite"),
            ("Tune", {"passes": 0}, "passes must be a whole number of at least 1"),
            ("Tune", {"learning_rate": float("inf")}, "learning_rate must be above 0 and finite"),
            ("Tune", {"seconds": 0}, "seconds must be above 0 and finite"),
        ],
    )
    def test_options_of_methods_are_checked(self, kind, options, text):
        with pytest.raises(kt.errors.BadInput, match=text):
            getattr(kt.repairs, kind)(**options)

    def test_options_of_least_squares_go_into_a_method_now(self):
        model, plan = residual_net(), kt.PruningPlan({"conv1": (0, 1, 2, 3, 5)})
        small = kt.rebuild(model, plan)
        with pytest.warns(DeprecationWarning, match=r"method=kt.repairs.LeastSquares\(ridge=..., rows=...\)"):
            old = kt.repair(model, plan, small, IMAGES, method="lstsq", ridge=0.1, rows=0, verbose=0)
        chosen = kt.repairs.LeastSquares(ridge=0.1, rows=0)
        new = kt.repair(model, plan, small, IMAGES, method=chosen, verbose=0)
        assert all(map(np.array_equal, old.model.get_weights(), new.model.get_weights()))
        with pytest.raises(kt.errors.BadInput, match="repair takes ridge in a method now"):
            kt.repair(model, plan, small, IMAGES, ridge=0.1)

    def test_a_recipe_takes_a_method_with_options_and_tells_them(self):
        shown = kt.Recipe(repair=kt.repairs.LeastSquares(rows=120)).settings()["repair"]
        assert shown == {"class": "LeastSquares", "ridge": 0.001, "rows": 120, "residual": True, "activation": True}
        with pytest.raises(kt.errors.UnknownName, match="Did you mean 'lstsq'"):
            kt.Recipe(repair="lsqt")

    def test_a_method_of_ones_own(self):
        @dataclass(frozen=True)
        class Silence(kt.repairs.RepairMethod):
            name = "silence"

            def apply(self, work):
                for weight in work.small.model.weights:
                    weight.assign(0.0 * weight)
                return 1

        fixed = _bad(method=("lstsq", Silence()), verbose=0)
        assert fixed.methods == ("lstsq", "silence")
        assert not fixed.model.predict(IMAGES, verbose=0).any()

    @pytest.mark.parametrize(("verbose", "lines"), [("auto", 4), (1, 4), (2, 4), (0, 0)])
    def test_verbose(self, verbose, lines, capsys):
        _bad(verbose=verbose)
        out = capsys.readouterr().out
        assert out.count("Repair: ") == lines
        assert ("━" in out or "/1" in out or "/2" in out) == (verbose in ("auto", 1))


def test_the_result_shows_itself():
    fixed = _bad(method="bias", verbose=0)
    assert isinstance(fixed, Result)
    assert fixed.render("markdown").startswith("Repair on 96 examples, judged on 24 others\n\n| methods | output error |")
    assert ">bias</td>" in fixed._repr_html_() and "chosen" in str(fixed)


def test_nothing_applied_still_shares_nothing(monkeypatch):
    monkeypatch.setattr(Judging, "badness", lambda self, error, agreement: -error)  # the worst wins
    model, plan = residual_net(), kt.PruningPlan({"conv1": (0, 1, 2, 3, 5)})
    small = kt.rebuild(model, plan)
    fixed = kt.repair(model, plan, small, IMAGES, verbose=0)
    assert fixed.methods == () and fixed.model is not small
    assert all(map(np.array_equal, fixed.model.get_weights(), small.get_weights()))
    assert not {id(w) for w in fixed.model.weights} & {id(w) for w in small.weights}


def test_statistics_that_are_not_those_of_the_data_keep_their_meaning():
    model, plan = residual_net(), kt.PruningPlan({"conv1": (0, 1, 2, 3, 5)})
    small = kt.rebuild(model, plan)
    measured, both, alone = (
        kt.repair(model, plan, small, IMAGES, method=method).model for method in ("batchnorm", ("batchnorm", "lstsq"), "lstsq")
    )
    assert distance(model, measured) < distance(model, small)
    assert np.isclose(distance(model, both), distance(model, alone), rtol=1e-3)


def test_a_frozen_normalisation_is_not_written_to():
    model, plan = residual_net(frozen=["norm2"]), kt.PruningPlan({"conv1": (0, 1, 2, 3, 5)})
    small = kt.rebuild(model, plan)
    for method in ("lstsq", "batchnorm"):
        fixed = kt.repair(model, plan, small, IMAGES, method=method).model
        assert same(fixed.get_layer("norm2"), small.get_layer("norm2"))
    model.trainable = False
    with pytest.warns(UserWarning, match="All layers to refit are frozen"):
        kt.repair(model, plan, kt.rebuild(model, plan), IMAGES, method="lstsq")


def test_copies_of_an_example_count_once():
    model, plan = residual_net(), kt.PruningPlan({"conv1": (0, 1, 2, 3, 5)})
    fixed = kt.repair(model, plan, kt.rebuild(model, plan), np.tile(IMAGES[:100], (3, 1, 1, 1)), method="bias")
    assert sum(fixed.examples) == 100


def test_windows_are_exact_in_any_precision():
    layer = layers.Conv2D(2, 3, dtype="float32")
    layer.build((None, 64, 64, 1))
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        table = Rows(rule_for(layer)[0].linear(layer)).table((64, 64))
    finally:
        keras.config.set_dtype_policy("float32")
    assert len(np.unique(table)) == 64 * 64


def _bad(**changes):
    model = residual_net()
    plan = kt.PruningPlan({"conv1": (0, 1, 2, 3, 5)})
    arguments = {"model": model, "plan": plan, "small": kt.rebuild(model, plan), "x": IMAGES, **changes}
    return kt.repair(**arguments)


@pytest.mark.parametrize(
    ("changes", "kind", "text"),
    [
        ({"method": "lsqt"}, kt.errors.UnknownName, "Did you mean 'lstsq'"),
        ({"method": ()}, kt.errors.BadInput, "at least one of"),
        ({"method": ("auto", "bias")}, kt.errors.BadInput, "goes with no other method"),
        ({"method": 3}, kt.errors.BadInput, "must name at least one of"),
        ({"method": ("bias", 3)}, kt.errors.BadInput, "must be a name or a kt.repairs.RepairMethod"),
        ({"plan": {}}, kt.errors.BadInput, "must be a kt.PruningPlan"),
        ({"plan": kt.PruningPlan({"conv1": (0, 1)})}, kt.errors.PlanMismatch, "small must be kt.rebuild(model, plan)"),
        ({"x": IMAGES[:, :4]}, kt.errors.BadInput, "input shapes. Received: [(120, 4, 8, 3)]"),
        ({"x": np.full_like(IMAGES, np.nan)}, kt.errors.BadInput, "must be finite"),
        ({"x": IMAGES[:1]}, kt.errors.BadInput, "at least two examples"),
        ({"x": IMAGES[:0]}, kt.errors.BadInput, "at least one example"),
        ({"plan": kt.PruningPlan({"conv1": (0, 1)}, "other", "0" * 16)}, kt.errors.PlanMismatch, "must be of this model"),
    ],
)
def test_bad_input(changes, kind, text):
    with pytest.raises(kind) as caught:
        _bad(**changes)
    assert text in str(caught.value)


def test_memory_is_foreseen(monkeypatch):
    monkeypatch.setattr(module.psutil, "virtual_memory", lambda: SimpleNamespace(available=256))
    with pytest.raises(kt.errors.BadInput, match=r"Memory must suffice for repair\. Received: 256 bytes available"):
        _bad(method="lstsq")


def test_nan_inside_the_model_names_the_layer():
    model = residual_net()
    model.get_layer("norm1").gamma.assign(np.full(8, np.nan))
    plan = kt.PruningPlan({"conv1": (0, 1, 2, 3, 5)})
    with pytest.raises(kt.errors.NonFiniteScores, match="'conv2'"):
        kt.repair(model, plan, kt.rebuild(model, plan), IMAGES, method="lstsq")


class TestTune:
    """`method="tune"` in `kt.repair`; the tuning itself is tested in test_tune.py."""

    def test_it_begins_with_least_squares_and_is_no_worse(self):
        model = residual_net()
        plan = kt.testing.random_plan(model, 0)
        small = kt.rebuild(model, plan)
        fixed = kt.repair(model, plan, small, IMAGES, method=kt.repairs.Tune(passes=3, learning_rate=1e-3), verbose=0)
        assert fixed.methods == ("lstsq", "tune")
        unrepaired, squares, tuned = fixed.attempts
        assert tuned.error <= squares.error < unrepaired.error and tuned.passes == 3
        assert [w.shape for w in fixed.model.weights] == [w.shape for w in small.weights]

    def test_auto_does_not_take_minutes(self):
        model = residual_net()
        plan = kt.testing.random_plan(model, 0)
        tried = kt.repair(model, plan, kt.rebuild(model, plan), IMAGES, verbose=0).attempts
        assert not any("tune" in attempt.methods for attempt in tried)
