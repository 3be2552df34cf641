"""The rebuilt model: plain Keras, with everything that the original had, on fewer channels."""

import subprocess
import sys
import textwrap

import keras
import numpy as np
import pytest

import keras_taylor as kt
from keras_taylor._rebuild.rebuild import copy_model
from tests import nets

layers = keras.layers


def halved(model, seed=0, macs=0.5):
    return kt.plan(nets.random_scores(kt.trace(model), seed), kt.Target(macs=macs))


def assert_faithful(model, plan=None):
    plan = plan or kt.testing.random_plan(model, 0)
    assert plan.kept
    kt.testing.assert_rebuilt_equals_masked(model, plan)
    return kt.rebuild(model, plan)


def test_by_hand():
    """A dense net of three, two kept: the kernels are cut along both sides."""
    model = nets.randomized(
        keras.Sequential([keras.Input((2,)), layers.Dense(3, activation="relu", name="a"), layers.Dense(1, name="b")])
    )
    kernel, bias, out, out_bias = model.get_weights()
    small = kt.rebuild(model, kt.PruningPlan({"a": (0, 2)}))
    for found, expected in zip(small.get_weights(), (kernel[:, [0, 2]], bias[[0, 2]], out[[0, 2]], out_bias), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_silencing_by_weights_is_an_independent_oracle():
    """In conv -> relu -> conv, a filter without weights and bias is silent: the original itself computes the reference."""
    model = nets.randomized(nets.chain())
    plan = kt.PruningPlan({"conv1": (0, 3, 4), "conv2": (1, 2, 6, 7)})
    small = kt.rebuild(model, plan)
    for name, kept in plan.kept.items():
        layer = model.get_layer(name)
        mask = np.isin(np.arange(layer.filters), kept).astype("float32")
        layer.set_weights([w * mask for w in layer.get_weights()])
    x, _ = nets.images(4)
    np.testing.assert_allclose(nets.outputs(small, x)[0], nets.outputs(model, x)[0], rtol=1e-4, atol=1e-6)


class TestCarriedOver:
    def test_the_original_is_untouched(self):
        model = nets.compiled(nets.residual(), optimizer="adam", metrics=["accuracy"])
        model.fit(*nets.images(8, 3), verbose=0)
        before, x = nets.state(model), nets.images(2)[0]
        small = kt.rebuild(model, halved(model))
        small.fit(*nets.images(8, 3), verbose=0)
        nets.assert_same_state(before, nets.state(model))
        assert not {id(w) for w in small.variables} & {id(w) for w in model.variables}
        assert nets.outputs(small, x)[0].shape == nets.outputs(model, x)[0].shape

    def test_it_is_a_plain_functional_model(self):
        class Mine(keras.Model):
            pass

        plain = nets.randomized(nets.residual())
        model = Mine(plain.inputs, plain.outputs, name="mine")
        small = kt.rebuild(model, halved(model))
        assert type(small) is type(keras.Model(plain.inputs, plain.outputs))
        assert small.name == "mine"

    def test_names_of_layers_and_weights(self):
        model = nets.randomized(nets.residual())
        small = kt.rebuild(model, halved(model))
        assert [layer.name for layer in small.layers] == [layer.name for layer in model.layers]
        assert [w.path for w in small.weights] == [w.path for w in model.weights]
        assert [x.name for x in small.inputs] == [x.name for x in model.inputs]
        assert small.output_names == model.output_names

    def test_nested_names_become_flat_and_stay_unique(self):
        def block(name):
            return keras.Sequential([keras.Input((8, 8, 3)), layers.Conv2D(3, 1, name="conv")], name=name)

        x = inputs = keras.Input((8, 8, 3))
        model = nets.randomized(keras.Model(inputs, layers.Conv2D(2, 1, name="out")(block("b")(block("a")(x)))))
        small = assert_faithful(model)
        assert [layer.name for layer in small.layers[1:]] == ["a_conv", "b_conv", "out"]

    def test_dtype_policies(self):
        x = inputs = keras.Input((8, 8, 3))
        x = layers.Conv2D(6, 3, dtype="mixed_float16", name="half")(x)
        x = layers.Conv2D(4, 3, dtype="float32", name="single")(x)
        x = layers.Conv2D(4, 3, dtype="mixed_bfloat16", name="brain")(x)
        model = nets.randomized(keras.Model(inputs, layers.Dense(2, dtype="float32", name="out")(layers.Flatten()(x))))
        small = kt.rebuild(model, halved(model))
        for name, policy in (("half", "mixed_float16"), ("single", "float32"), ("brain", "mixed_bfloat16")):
            assert small.get_layer(name).dtype_policy.name == policy

    def test_trainable_flags(self):
        model = nets.randomized(nets.residual())
        model.get_layer("stem").trainable = False
        model.get_layer("outer_bn").trainable = False
        small = kt.rebuild(model, halved(model))
        assert [layer.name for layer in small.layers if not layer.trainable] == ["stem", "outer_bn"]
        assert len(small.trainable_weights) == len(model.trainable_weights)
        model.trainable = False
        assert not kt.rebuild(model, halved(model)).trainable_weights

    def test_regularisers_constraints_and_initialisers(self):
        model = keras.Sequential(
            [
                keras.Input((4,)),
                layers.Dense(
                    6,
                    kernel_regularizer=keras.regularizers.L2(0.1),
                    bias_constraint="non_neg",
                    kernel_initializer="ones",
                    name="a",
                ),
                layers.Dense(2),
            ]
        )
        small = kt.rebuild(model, kt.PruningPlan({"a": (1, 2)}))
        assert float(small.get_layer("a").kernel_regularizer.l2) == pytest.approx(0.1)
        assert isinstance(small.get_layer("a").bias_constraint, keras.constraints.NonNeg)
        np.testing.assert_allclose(sum(small.losses), 0.1 * 4 * 2, rtol=1e-6)

    def test_a_frozen_backbone_called_with_training_false(self):
        """Its BatchNormalization stays in inference when the rebuilt model trains, as in the original."""
        model = nets.compiled(nets.nested(training=False), metrics=["accuracy"])
        model.get_layer("backbone").trainable = False
        small = kt.rebuild(model, halved(model))
        assert {layer.name for layer in small.layers if not layer.trainable} >= {"conv1", "bn", "conv2"}
        x, y = nets.images(8)
        np.testing.assert_allclose(small(x, training=True), small(x, training=False), rtol=1e-6)
        before = small.get_layer("bn").moving_mean.numpy()
        small.fit(x, y, verbose=0)
        np.testing.assert_array_equal(small.get_layer("bn").moving_mean.numpy(), before)

    def test_a_backbone_that_trains_still_trains(self):
        model = nets.compiled(nets.nested())
        small = kt.rebuild(model, halved(model))
        before = small.get_layer("bn").moving_mean.numpy()
        small.fit(*nets.images(8), verbose=0)
        assert not np.allclose(small.get_layer("bn").moving_mean.numpy(), before)


@pytest.mark.parametrize("given", [lambda model: model, kt.trace], ids=["model", "graph"])
def test_copies_are_what_an_empty_plan_makes(given):
    model = nets.compiled(nets.residual(), optimizer="adam")
    model.fit(*nets.images(8, 3), verbose=0)
    copy, other = copy_model(given(model)), kt.rebuild(given(model), kt.PruningPlan({}))
    for a, b, c in zip(model.get_weights(), copy.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
        np.testing.assert_array_equal(a, c)
    assert not {id(w) for w in copy.variables} & {id(w) for w in model.variables}
    assert copy.optimizer.iterations.numpy() == 1
    assert copy.optimizer.get_config() == other.optimizer.get_config()


class TestCompilation:
    def test_loss_metrics_and_optimizer(self):
        model = nets.compiled(
            nets.residual(),
            optimizer=keras.optimizers.SGD(0.05, momentum=0.9, nesterov=True),
            metrics=["accuracy", keras.metrics.SparseTopKCategoricalAccuracy(2, name="top2")],
            weighted_metrics=["accuracy"],
            jit_compile=False,
        )
        small = kt.rebuild(model, halved(model))
        assert small.optimizer is not model.optimizer
        assert small.optimizer.get_config() == model.optimizer.get_config()
        data = nets.images(8, 3)
        assert list(small.evaluate(*data, verbose=0, return_dict=True)) == list(
            model.evaluate(*data, verbose=0, return_dict=True)
        )
        assert small.jit_compile == model.jit_compile

    @pytest.mark.parametrize("trained", [False, True])
    @pytest.mark.parametrize(
        ("policy", "later"), [("mixed_float16", "float32"), ("mixed_bfloat16", "float32"), ("float32", "mixed_float16")]
    )
    def test_the_policy_and_the_optimizer_are_the_models_own(self, policy, later, trained):
        before = keras.config.dtype_policy()
        try:
            keras.config.set_dtype_policy(policy)
            model = nets.compiled(nets.residual(), optimizer="adam")
            if trained:
                model.fit(*nets.images(8, 3), verbose=0)
            keras.config.set_dtype_policy(later)
            small = kt.rebuild(model, halved(model))
            small.fit(*nets.images(8, 3), verbose=0)
        finally:
            keras.config.set_dtype_policy(before)
        assert small.dtype_policy.name == policy
        assert type(small.optimizer) is type(model.optimizer)
        assert isinstance(small.optimizer, keras.optimizers.LossScaleOptimizer) == (policy == "mixed_float16")
        assert int(small.optimizer.iterations) == int(trained) + 1

    def test_a_scaled_loss_is_scaled_whatever_was_asked_for(self):
        model = nets.compiled(nets.residual(), optimizer="sgd")
        model.optimizer = keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam())
        small = kt.rebuild(model, halved(model))
        assert isinstance(small.optimizer.inner_optimizer, keras.optimizers.Adam)

    def test_metrics_do_not_share_state(self):
        metric = keras.metrics.SparseCategoricalAccuracy(name="hit")
        model = nets.compiled(nets.chain(), metrics=[metric])
        model.evaluate(*nets.images(8), verbose=0)
        small = kt.rebuild(model, halved(model))
        count = float(metric.count.numpy())
        small.evaluate(*nets.images(4), verbose=0)
        assert float(metric.count.numpy()) == count

    def test_a_model_that_is_not_compiled_stays_so(self):
        model = nets.randomized(nets.chain())
        assert not kt.rebuild(model, halved(model)).compiled

    @pytest.mark.parametrize(
        "optimizer",
        [
            lambda: keras.optimizers.SGD(0.01, momentum=0.9),
            lambda: keras.optimizers.Adam(0.01, amsgrad=True),
            lambda: keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam(0.01)),
            lambda: keras.optimizers.RMSprop(keras.optimizers.schedules.ExponentialDecay(0.01, 10, 0.9), momentum=0.5),
        ],
    )
    def test_slots_are_cut_along_with_their_weights(self, optimizer):
        """After a training step every slot is distinct; each must be the slice that its weight is."""
        model = nets.compiled(nets.residual(), optimizer=optimizer())
        model.fit(*nets.images(8, 3), verbose=0)
        plan = halved(model)
        small = kt.rebuild(model, plan)
        assert small.optimizer.iterations.numpy() == model.optimizer.iterations.numpy() == 1
        kept = {w.path: self.cut(w, plan) for w in model.trainable_variables}
        old = self.slots(model.optimizer, model)
        new = self.slots(small.optimizer, small)
        assert old.keys() == new.keys() and len(old) >= len(kept)
        shrunk = 0
        for (slot, path), value in old.items():
            expected = value[kept[path]] if value.shape else value
            np.testing.assert_array_equal(new[slot, path], expected, err_msg=f"{slot} of {path}")
            shrunk += expected.shape != value.shape
        assert shrunk > 4

    def cut(self, weight, plan):
        """The index arrays that cut a weight of `nets.residual`, worked out from the plan alone."""
        name = weight.path.split("/")[-2]
        reads = {"inner": "stem_relu", "outer": "inner", "logits": "pool"}.get(name)
        if len(weight.shape) == 1:
            return np.array(plan.kept.get(name, range(weight.shape[0])))
        ins = plan.kept.get(reads, range(weight.shape[-2]))
        outs = plan.kept.get(name, range(weight.shape[-1]))
        window = [range(n) for n in weight.shape[:-2]]
        return np.ix_(*window, ins, outs)

    @staticmethod
    def slots(optimizer, model):
        """(name of the slot, path of its weight) -> value, for every slot of an optimizer."""
        inner = getattr(optimizer, "inner_optimizer", optimizer)
        found = {}
        for variable in inner.variables:
            for weight in model.trainable_variables:
                marker = weight.path.replace("/", "_")
                if marker in variable.path:
                    found[variable.path.split(marker)[-1], weight.path] = variable.numpy()
        return found

    def test_training_goes_on_where_it_was(self):
        """With a plan that removes nothing, the copy takes the same next step as the original."""
        model = nets.compiled(nets.residual(), optimizer=keras.optimizers.Adam(0.01))
        data = nets.images(8, 3)
        model.fit(*data, verbose=0, shuffle=False)
        copy = kt.rebuild(model, kt.PruningPlan({}))
        model.fit(*data, verbose=0, shuffle=False)
        copy.fit(*data, verbose=0, shuffle=False)
        for a, b in zip(model.get_weights(), copy.get_weights(), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


class TestModels:
    def test_normalization(self):
        x, _ = nets.images(20)
        norm = layers.Normalization(name="norm")
        norm.adapt(3 * x + 5)
        inputs = keras.Input((8, 8, 3))
        y = layers.Conv2D(2, 1)(layers.Conv2D(6, 3, activation="relu", name="a")(norm(inputs)))
        model = keras.Model(inputs, y)
        plan = halved(model)
        small = kt.rebuild(model, plan)
        np.testing.assert_array_equal(small.get_layer("norm").mean, norm.mean)
        assert kt.verify(model, plan, small, 3 * x + 5).ok

    def test_dictionaries_of_inputs_and_outputs(self):
        image, vector = keras.Input((8, 8, 3), name="image"), keras.Input((5,), name="vector")
        a = layers.GlobalAveragePooling2D()(layers.Conv2D(6, 3, name="a")(image))
        x = layers.Concatenate(name="cat")([a, layers.Dense(4, activation="relu", name="b")(vector)])
        hidden = layers.Dense(8, activation="relu", name="hidden")(x)
        out = {"kind": layers.Dense(3, name="kind_head")(hidden), "size": layers.Dense(1, name="size_head")(hidden)}
        model = nets.compiled(
            keras.Model({"image": image, "vector": vector}, out),
            {"kind": nets.CROSS_ENTROPY, "size": "mse"},
            metrics={"kind": ["accuracy"], "size": ["mae"]},
        )
        small = assert_faithful(model)
        rng = np.random.default_rng(0)
        feed = {"image": rng.normal(size=(6, 8, 8, 3)), "vector": rng.normal(size=(6, 5))}
        assert set(small(feed)) == {"kind", "size"}
        history = small.fit(feed, {"kind": np.arange(6) % 3, "size": np.ones((6, 1))}, verbose=0).history
        assert {"kind_accuracy", "size_mae", "loss"} <= set(history)

    def test_lists_of_inputs_and_outputs(self):
        a, b = keras.Input((4,), name="a"), keras.Input((4,), name="b")
        x = layers.Dense(6, name="x")(a) * layers.Dense(6, name="y")(b)
        model = nets.randomized(keras.Model([a, b], [layers.Dense(2)(x), layers.Dense(3)(x)]))
        small = assert_faithful(model)
        one = np.ones((2, 4), "float32")
        assert [y.shape for y in small([one, one])] == [(2, 2), (2, 3)]

    def test_an_input_that_is_also_an_output(self):
        a = keras.Input((4,), name="a")
        x = layers.Dense(6, activation="relu", name="x")(a)
        model = nets.randomized(keras.Model(a, [a, layers.Dense(2)(x)]))
        assert_faithful(model)

    def test_a_shared_backbone_as_in_a_siamese_net(self):
        backbone = keras.Sequential(
            [keras.Input((8, 8, 3)), layers.Conv2D(8, 3, activation="relu", name="a"), layers.Conv2D(6, 3, name="b")],
            name="twin",
        )
        left, right = keras.Input((8, 8, 3)), keras.Input((8, 8, 3))
        gap = layers.GlobalAveragePooling2D()
        model = nets.randomized(keras.Model([left, right], layers.Dense(1)(gap(backbone(left)) - gap(backbone(right)))))
        small = assert_faithful(model)
        assert len(small.weights) == len(model.weights)

    def test_integer_inputs(self):
        x = inputs = keras.Input((8, 8, 3), dtype="uint8")
        x = layers.Conv2D(6, 3, activation="relu")(layers.Rescaling(1 / 255)(x))
        assert_faithful(nets.randomized(keras.Model(inputs, layers.Conv2D(2, 1)(x))))

    def test_unknown_image_sizes(self):
        x = inputs = keras.Input((None, None, 3))
        x = layers.Conv2D(6, 3, activation="relu")(x)
        model = nets.randomized(keras.Model(inputs, layers.Dense(2)(layers.GlobalAveragePooling2D()(x))))
        assert_faithful(model)

    def test_pruning_a_pruned_model(self):
        model = nets.randomized(nets.residual())
        once = kt.rebuild(model, halved(model, macs=0.7))
        plan = halved(once, macs=0.7)
        assert kt.verify(once, plan, kt.rebuild(once, plan)).ok

    @pytest.mark.parametrize(
        "reader",
        [
            lambda x: layers.Conv2D(2, 1, name="reader")(x),
            lambda x: layers.Conv2D(4, 1, groups=2, name="reader")(x),
            lambda x: layers.SeparableConv2D(2, 1, name="reader")(x),
            lambda x: layers.Conv2DTranspose(2, 1, name="reader")(x),
            lambda x: layers.DepthwiseConv2D(1, name="reader")(x),
            lambda x: layers.Dense(2, name="reader")(x),
            lambda x: layers.BatchNormalization(name="reader")(x),
            lambda x: layers.PReLU(name="reader")(x),
        ],
    )
    def test_a_layer_that_cannot_be_followed_stays_while_others_shrink(self, reader):
        """Its channels run along the rows; what comes before and beside it may lose channels all the same."""
        inputs = keras.Input((4, 4, 3))
        x = layers.Conv2D(4, 1, activation="relu", name="b")(layers.Conv2D(6, 3, padding="same", name="a")(inputs))
        turned = reader(layers.Permute((3, 2, 1))(x))
        model = nets.randomized(keras.Model(inputs, layers.Dense(2)(layers.Flatten()(turned))))
        assert_faithful(model, kt.PruningPlan({"a": (0, 2, 5)}))

    def test_a_part_of_a_split_that_holds_one_channel_throughout(self):
        """Each part is one channel, twice: nothing of it can go, and the split must stay where it is."""
        inputs = keras.Input((4, 4, 3))
        x = layers.Conv2D(2, 1, name="b")(layers.Conv2D(6, 3, padding="same", activation="relu", name="a")(inputs))
        parts = keras.ops.split(layers.DepthwiseConv2D(1, depth_multiplier=2)(x), 2, axis=-1)
        model = nets.randomized(keras.Model(inputs, [layers.Dense(3)(part) for part in parts]))
        assert_faithful(model, kt.PruningPlan({"a": (0, 2, 5)}))

    def test_a_layer_whose_config_does_not_reproduce_it_is_shared_with_a_warning(self):
        class Forgetful(layers.Layer):
            def __init__(self, width, **kwargs):
                super().__init__(**kwargs)
                self.width = width

            def build(self, shape):
                self.scale = self.add_weight(shape=(self.width,), initializer="ones")

            def call(self, x):
                return x * self.scale

            def get_config(self):
                return keras.layers.Layer.get_config(self)

        inputs = keras.Input((4,))
        x = Forgetful(6, name="forgetful")(layers.Dense(6, name="a")(inputs))
        model = keras.Model(inputs, layers.Dense(2)(layers.Dense(5, name="b")(x)))
        with pytest.warns(UserWarning, match="The config of layer 'forgetful' .* does not reproduce the layer"):
            small = kt.rebuild(model, kt.PruningPlan({"b": (0, 1)}))
        assert small.get_layer("forgetful") is model.get_layer("forgetful")


def test_it_loads_and_trains_where_keras_taylor_cannot_be_imported(tmp_path):
    model = nets.compiled(nets.nested(), optimizer="adam", metrics=["accuracy"])
    model.fit(*nets.images(8), verbose=0)
    small = kt.rebuild(model, halved(model))
    small.save(tmp_path / "small.keras")
    x, y = nets.images(8)
    np.savez(tmp_path / "data.npz", x=x, y=y, expected=nets.outputs(small, x)[0])
    program = f"""
        import sys
        sys.modules["keras_taylor"] = None
        import keras, numpy as np
        model = keras.models.load_model(r"{tmp_path / "small.keras"}")
        data = np.load(r"{tmp_path / "data.npz"}")
        np.testing.assert_allclose(model(data["x"], training=False), data["expected"], rtol=1e-5, atol=1e-6)
        before = [w.numpy() for w in model.trainable_weights]
        assert model.optimizer.iterations.numpy() == 1
        history = model.fit(data["x"], data["y"], verbose=0).history
        assert np.isfinite(history["loss"]).all() and "accuracy" in history
        assert any((w.numpy() != b).any() for w, b in zip(model.trainable_weights, before))
        print("trained on")
    """
    run = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stderr
    assert "trained on" in run.stdout
