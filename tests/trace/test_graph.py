"""Channels, ties and locks of traced models."""

import keras
import numpy as np
import pytest

import keras_taylor as kt
from tests import nets

layers = keras.layers
ops = keras.ops


def model_of(build, shape=(8, 8, 3)):
    """A model whose body is `build(x)` on the image."""
    inputs = keras.Input(shape, name="image")
    return keras.Model(inputs, build(inputs), name="net")


def groups(model):
    """For the producers of each group: how many channels, how many of them locked."""
    return {tuple(sorted(group.producers)): (len(group.channels), group.locked) for group in kt.trace(model).groups}


def conv(filters, name, size=1, **options):
    return layers.Conv2D(filters, size, padding="same", name=name, **options)


class TestTies:
    def test_a_chain_ties_nothing(self):
        assert groups(nets.chain()) == {("conv1",): (6, 0), ("conv2",): (8, 0), ("logits",): (2, 2)}

    def test_an_add_ties_equal_positions(self):
        graph = kt.trace(nets.residual())
        assert groups(nets.residual()) == {("outer", "stem"): (6, 0), ("inner",): (4, 0), ("logits",): (3, 3)}
        np.testing.assert_array_equal(nets.producer_channels(graph, "stem"), nets.producer_channels(graph, "outer"))

    @pytest.mark.parametrize(
        "meet",
        [
            lambda a, b: a + b,
            lambda a, b: layers.Multiply()([a, b]),
            lambda a, b: ops.maximum(a, b),
            lambda a, b: layers.Concatenate(axis=1)([a, b]),
            lambda a, b: (a * 2.0 - b / 3.0) + 1.0,
            lambda a, b: ops.where(a > 0.0, a, b),
        ],
    )
    def test_operators_tie(self, meet):
        model = model_of(lambda x: conv(2, "out")(meet(conv(4, "a")(x), conv(4, "b")(x))))
        assert groups(model) == {("a", "b"): (4, 0), ("out",): (2, 2)}

    @pytest.mark.parametrize("change", [lambda x: x * 2.0, lambda x: 1.0 - x, lambda x: -x, lambda x: ops.clip(x, 0.0, 6.0)])
    def test_scalars_tie_and_lock_nothing(self, change):
        model = model_of(lambda x: conv(2, "out")(change(conv(4, "a")(x))))
        assert groups(model) == {("a",): (4, 0), ("out",): (2, 2)}

    def test_broadcasting_along_positions_ties_and_along_channels_locks_the_single_one(self):
        def gated(x):
            y = conv(4, "a")(x)
            excite = conv(4, "excite", activation="sigmoid")(layers.GlobalAveragePooling2D(keepdims=True)(y))
            return conv(2, "out")(y * excite * conv(1, "where", activation="sigmoid")(y))

        graph = kt.trace(model_of(gated))
        assert groups(model_of(gated)) == {("a", "excite"): (4, 0), ("where",): (1, 1), ("out",): (2, 2)}
        assert "broadcasts it over all channels" in graph.locked["where"]

    def test_concatenation_keeps_channels_apart(self):
        model = model_of(lambda x: conv(2, "out")(layers.Concatenate()([conv(4, "a")(x), conv(3, "b")(x)])))
        assert groups(model) == {("a",): (4, 0), ("b",): (3, 0), ("out",): (2, 2)}

    def test_a_depthwise_convolution_bears_no_channels(self):
        model = model_of(lambda x: conv(2, "out")(layers.DepthwiseConv2D(3, depth_multiplier=2, name="dw")(conv(4, "a")(x))))
        graph = kt.trace(model)
        assert groups(model) == {("a",): (4, 0), ("out",): (2, 2)}
        step = next(step for step in graph.steps if step.call.name == "dw")
        np.testing.assert_array_equal(step.outputs[0].ids, np.repeat(step.inputs[0].ids, 2))

    def test_groups_of_a_convolution_stay_equally_wide(self):
        """2 groups of 4 inputs and 3 outputs: the same position in both groups is one channel."""
        model = model_of(lambda x: conv(2, "out")(conv(6, "g", groups=2)(conv(8, "a")(x))))
        assert groups(model) == {("a",): (8 // 2, 0), ("g",): (6 // 2, 0), ("out",): (2, 2)}

    def test_more_groups_than_channels_in_one_go_as_a_whole(self):
        """8 groups of 1 input and 2 outputs: a group is one channel, inputs and outputs together."""
        model = model_of(lambda x: conv(2, "out")(conv(16, "g", groups=8)(conv(8, "a")(x))))
        assert groups(model) == {("a", "g"): (8, 0), ("out",): (2, 2)}

    def test_a_split_and_a_slice_share_the_channels_of_their_source(self):
        def cut(x):
            a = conv(6, "a")(x)
            left, right = ops.split(a, 2, axis=-1)
            return [conv(2, "out1")(left + right), conv(2, "out2")(a[..., :2])]

        graph = kt.trace(model_of(cut))
        a = nets.producer_channels(graph, "a")
        assert a[0] == a[3] and a[1] == a[4] and a[2] == a[5] and len(set(a)) == 3
        assert not any(graph.locks[a])

    def test_flatten_repeats_a_channel_for_every_position(self):
        graph = kt.trace(model_of(lambda x: layers.Dense(2, name="out")(layers.Flatten()(conv(4, "a", strides=4)(x)))))
        dense = graph.steps[-1]
        assert dense.inputs[0].ids.tolist() == nets_ids(graph, "a").tolist() * (2 * 2)

    def test_channels_first_behind_a_permutation(self):
        def first(x):
            x = layers.Conv2D(4, 3, data_format="channels_first", name="a")(layers.Permute((3, 1, 2))(x))
            x = layers.BatchNormalization(axis=1)(x)
            return layers.Dense(2, name="out")(layers.GlobalAveragePooling2D(data_format="channels_first")(x))

        assert groups(model_of(first)) == {("a",): (4, 0), ("out",): (2, 2)}

    def test_a_channels_first_input_is_locked_with_a_reason(self):
        """Inputs are taken to have their channels last: what reads them otherwise stays as it is."""
        model = model_of(lambda x: layers.Conv2D(4, 3, data_format="channels_first", name="a")(x), (3, 8, 8))
        assert "reads channels that do not run along its channel axis" in kt.trace(model).locked["a"]


def nets_ids(graph, name):
    return next(ids for ids, born in graph.births if born == name)


@keras.saving.register_keras_serializable("tests")
def plus_one(x):
    return x + 1.0


class Unknown(layers.Layer):
    """No rule knows it."""

    def call(self, x):
        return x * 1.0


LOCKS = {
    "softmax in the middle": (lambda x: layers.Softmax(name="mix")(x), "mix (Softmax) mixes the channels"),
    "softmax as an activation": (
        lambda x: layers.Activation("softmax", name="mix")(x),
        "mix (Activation) has the activation 'softmax', which may mix channels",
    ),
    "an unknown layer": (lambda x: Unknown(name="strange")(x), "strange (Unknown) has no rule"),
    "an unknown operation": (lambda x: ops.cumsum(x, axis=1), "(Cumsum) has no rule"),
    "a constant array": (lambda x: x * np.arange(4, dtype="float32"), "(Multiply) meets a constant array"),
    "a stride slice": (lambda x: x[..., ::2], "(GetItem) takes the channels with a stride"),
    "a single channel": (lambda x: ops.expand_dims(x[..., 1], -1), "takes a single channel out"),
    "normalisation over the channels": (
        lambda x: layers.LayerNormalization(name="norm")(x),
        "norm (LayerNormalization) normalises over the channels",
    ),
    "a mean over the channels": (lambda x: ops.mean(x, axis=-1, keepdims=True), "(Mean) reduces over the channels"),
    "scales for each channel": (
        lambda x: layers.Rescaling([1.0, 2.0, 3.0, 4.0], name="scale")(x),
        "scale (Rescaling) has a fixed scale for each channel",
    ),
    "a function of the user's": (
        lambda x: layers.Activation(plus_one, name="mine")(x),
        "mine (Activation) has the activation 'plus_one', which may mix channels",
    ),
    "channels that meet positions": (lambda x: x + ops.transpose(x, (0, 3, 2, 1)), "channels run along different axes"),
    "pixels become channels along a padded axis": (
        lambda x: ops.pad(x, ((0, 0), (0, 0), (0, 0), (1, 1)), mode="reflect"),
        "repeats channels in mode 'reflect'",
    ),
}


@pytest.mark.parametrize("what", LOCKS)
def test_what_cannot_be_followed_is_locked_with_a_reason(what):
    change, reason = LOCKS[what]
    # Four rows and columns, so that every change fits.
    model = model_of(lambda x: conv(2, "out")(change(conv(4, "a", strides=2)(x))))
    graph = kt.trace(model)
    assert reason in graph.locked["a"]
    plan = kt.plan(nets.random_scores(graph), kt.Target(macs=1.0))
    assert not plan.kept
    nets.randomized(model)
    x, _ = nets.images(2)
    np.testing.assert_allclose(nets.outputs(kt.rebuild(model, plan), x)[0], nets.outputs(model, x)[0], rtol=1e-5, atol=1e-6)


class TestLocks:
    def test_inputs_and_outputs(self):
        graph = kt.trace(model_of(lambda x: conv(4, "a")(x)))
        assert graph.locked == {"a": "model output"}
        assert set(graph.locks) == {"model input", "model output"}

    def test_a_softmax_activation_locks_its_own_layer(self):
        graph = kt.trace(model_of(lambda x: conv(2, "out")(conv(4, "a", activation="softmax")(x))))
        assert graph.locked["a"] == "a (Conv2D) has the activation 'softmax', which may mix channels"

    def test_a_residual_to_the_input_locks_the_branch(self):
        graph = kt.trace(model_of(lambda x: conv(2, "out")(x + conv(3, "a")(x))))
        assert graph.locked["a"] == "model input"

    def test_only_the_touched_part_is_locked(self):
        def half(x):
            a = conv(6, "a")(x)
            return [conv(2, "out1")(a), conv(2, "out2")(layers.Softmax(name="mix")(a[..., :2]))]

        graph = kt.trace(model_of(half))
        assert [bool(reason) for reason in graph.locks[nets.producer_channels(graph, "a")]] == [True, True, *[False] * 4]

    def test_a_slice_with_a_wrong_data_format_is_not_followed(self):
        graph = kt.trace(
            model_of(lambda x: layers.Flatten()(layers.MaxPooling2D(data_format="channels_first")(conv(4, "a")(x))))
        )
        assert "works on the axis that the channels run along" in graph.locked["a"]


class TestModels:
    def test_nested_models_are_entered_and_named_by_path(self):
        model = nets.nested()
        assert groups(model) == {("backbone/conv1",): (6, 0), ("backbone/conv2",): (5, 0), ("logits",): (2, 2)}

    def test_a_sequential_in_a_functional_in_a_sequential(self):
        block = keras.Sequential([keras.Input((8, 8, 3)), conv(4, "a"), layers.ReLU()], name="block")
        middle = model_of(lambda x: block(x))
        model = keras.Sequential([keras.Input((8, 8, 3)), middle, conv(2, "out")])
        assert groups(model) == {("net/block/a",): (4, 0), ("out",): (2, 2)}

    def test_a_shared_layer_has_the_same_channels_in_all_calls(self):
        shared = conv(3, "shared")
        model = model_of(lambda x: conv(2, "out")(shared(conv(3, "a")(x)) + shared(conv(3, "b")(x))))
        # a and b are read by one kernel, so they lose the same positions.
        assert groups(model) == {("a", "b"): (3, 0), ("shared",): (3, 0), ("out",): (2, 2)}

    def test_a_layer_that_feeds_itself_ties_inputs_and_outputs(self):
        shared = conv(4, "shared")
        model = model_of(lambda x: conv(2, "out")(shared(shared(conv(4, "a")(x)))))
        assert groups(model) == {("a", "shared"): (4, 0), ("out",): (2, 2)}

    def test_a_shared_batch_norm(self):
        norm = layers.BatchNormalization(name="norm")
        model = model_of(lambda x: conv(2, "out")(layers.Concatenate()([norm(conv(4, "a")(x)), norm(conv(4, "b")(x))])))
        assert groups(model) == {("a", "b"): (4, 0), ("out",): (2, 2)}

    def test_a_shared_layer_without_weights_ties_nothing(self):
        relu = layers.ReLU()
        model = model_of(lambda x: conv(2, "out")(layers.Concatenate()([relu(conv(4, "a")(x)), relu(conv(4, "b")(x))])))
        assert groups(model) == {("a",): (4, 0), ("b",): (4, 0), ("out",): (2, 2)}

    def test_several_inputs_and_outputs(self):
        image, vector = keras.Input((8, 8, 3), name="image"), keras.Input((5,), name="vector")
        a = layers.GlobalAveragePooling2D()(conv(4, "a")(image))
        b = layers.Dense(4, name="b")(vector)
        model = keras.Model(
            {"image": image, "vector": vector}, {"sum": layers.Dense(2, name="sum")(a + b), "b": layers.Dense(1, name="one")(b)}
        )
        assert groups(model) == {("a", "b"): (4, 0), ("sum",): (2, 2), ("one",): (1, 1)}

    def test_nodes_from_elsewhere_do_not_count(self):
        """A layer that is also used in another model: only the calls of this one are seen."""
        model = nets.chain()
        keras.Model(model.inputs, model.get_layer("conv1").output + 1.0)
        other = keras.Input((8, 8, 3))
        model.get_layer("conv1")(other)
        assert groups(model) == {("conv1",): (6, 0), ("conv2",): (8, 0), ("logits",): (2, 2)}

    def test_tracing_leaves_the_model_alone(self):
        for model in (nets.residual(), nets.nested()):
            model.compile("sgd", "mse")
            before = nets.state(model)
            kt.trace(model)
            nets.assert_same_state(before, nets.state(model))

    def test_a_wrapped_model_traces_like_the_model(self):
        model = nets.residual()
        plain, wrapped = kt.trace(model), kt.trace(kt.wrap(model))
        assert (plain.macs, plain.params, plain.locked) == (wrapped.macs, wrapped.params, wrapped.locked)


class TestPrinting:
    def test_the_table_says_what_is_tied_and_locked(self):
        text = str(kt.trace(nets.residual()))
        for part in ("stem", "outer", "inner", "tied to", "why locked", "model output", "1 MAC = 1", "residual"):
            assert part in text
        row = next(line for line in text.splitlines() if "stem" in line)
        assert "outer" in row

    def test_a_row_shows_macs_and_parameters(self):
        row = next(line for line in str(kt.trace(nets.chain())).splitlines() if "conv1" in line)
        assert f"{6 * 6 * 9 * 3 * 6 / 1000:.4g} k" in row  # 5.832 k
        assert str(9 * 3 * 6 + 6) in row

    def test_repr_counts(self):
        assert repr(kt.trace(nets.chain())) == "<ChannelGraph 'chain': 19 channels, 12,760 MACs, 626 params>"

    def test_the_fingerprint_tells_models_apart(self):
        assert kt.trace(nets.chain()).fingerprint == kt.trace(nets.chain()).fingerprint
        assert kt.trace(nets.chain()).fingerprint != kt.trace(nets.chain(filters=7)).fingerprint


def test_a_noise_shape_locks_only_if_it_counts_the_channels():
    def net(noise_shape):
        dropout = layers.Dropout(0.5, noise_shape=noise_shape)
        return kt.trace(keras.Sequential([keras.Input((8, 8, 3)), layers.Conv2D(6, 3), dropout, layers.Conv2D(2, 1)]))

    assert len(net((None, 1, 1, 1)).locked) == 1
    assert len(net((None, 1, 1, 6)).locked) == 2
