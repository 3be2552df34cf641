"""Costs are of the whole model: what no rule follows counts, and what cannot be counted is named."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_taylor as kt
from keras_taylor._trace.hidden_kernels import hidden_kernels
from keras_taylor._trace.op_macs import OpMacs
from tests import nets

layers, ops = keras.layers, keras.ops


def macs_of_the_graph(model):
    """What TensorFlow would multiply for one example, whatever rules say."""
    graph = tf.__internal__.FuncGraph("whole")
    with keras.StatelessScope(), graph.as_default():
        inputs = [tf.compat.v1.placeholder(x.dtype, (1, *x.shape[1:])) for x in model.inputs]
        macs, unknown = OpMacs(graph).new(tf.nest.flatten(model(inputs if len(inputs) > 1 else inputs[0], training=False)))
    assert not unknown
    return macs


def per_frame():
    """A CNN on each of 6 frames, then dense layers."""
    x = inner = keras.Input((8, 8, 3))
    x = layers.Conv2D(5, 3)(layers.Conv2D(4, 3, activation="relu")(x))
    cnn = keras.Model(inner, layers.GlobalAveragePooling2D()(x))
    x = inputs = keras.Input((6, 8, 8, 3))
    x = layers.Dense(7, activation="relu", name="dense")(layers.TimeDistributed(cnn, name="frames")(x))
    return keras.Model(inputs, layers.Dense(2, name="logits")(layers.GlobalAveragePooling1D()(x)))


def transformer():
    """One pre-norm block: attention with 2 heads of 4 on 5 positions of 8, then 8 -> 16 -> 8."""
    x = inputs = keras.Input((5, 8))
    y = layers.LayerNormalization()(x)
    x = layers.Add()([x, layers.MultiHeadAttention(2, 4, name="attention")(y, y)])
    y = layers.Dense(16, activation="relu", name="wide")(layers.LayerNormalization()(x))
    x = x + layers.Dense(8)(y)
    return keras.Model(inputs, layers.Dense(2)(layers.GlobalAveragePooling1D()(x)))


def recurrent():
    """Conv1D (3 -> 8, 14 steps), then LSTM(6)."""
    return keras.Sequential(
        [keras.Input((16, 3)), layers.Conv1D(8, 3, activation="relu"), layers.LSTM(6, name="lstm"), layers.Dense(2)]
    )


@keras.saving.register_keras_serializable("hidden")
class Deep(layers.Layer):
    """A convolution two levels down."""

    def __init__(self, depth=2, **options):
        super().__init__(**options)
        self.depth = depth
        self.inner = Deep(depth - 1) if depth else layers.Conv2D(4, 3)

    def build(self, shape):
        self.inner.build(shape)

    def call(self, x):
        return self.inner(x) if self.depth else ops.relu(self.inner(x))

    def compute_output_shape(self, shape):
        return self.inner.compute_output_shape(shape)


@keras.saving.register_keras_serializable("hidden")
class Cell(layers.Layer):
    """A recurrent cell of one's own: two products per step."""

    state_size = output_size = 5

    def build(self, shape):
        self.w = self.add_weight(shape=(shape[-1], 5))
        self.u = self.add_weight(shape=(5, 5))

    def call(self, x, states):
        state = ops.tanh(ops.matmul(x, self.w) + ops.matmul(states[0], self.u))
        return state, [state]


def branch_in_both_directions():
    x = inputs = keras.Input((7, 3))
    left = layers.Bidirectional(layers.LSTM(4, return_sequences=True))(x)
    return keras.Model(inputs, layers.Dense(2)(layers.Add()([left, layers.Conv1D(8, 3, padding="same")(x)])))


def windows():
    """Positions are moved into the batch axis, and back: 4 windows of 4 x 4."""
    x = inputs = keras.Input((8, 8, 6))
    x = layers.Conv2D(5, 3, padding="same")(ops.reshape(x, (-1, 4, 4, 6)))
    return keras.Model(inputs, layers.Dense(3)(ops.reshape(x, (-1, 4 * 4 * 4 * 5))))


def windows_by_a_layer():
    x = inputs = keras.Input((8, 8, 6))
    x = layers.Dense(5)(layers.Lambda(lambda x: ops.reshape(x, (-1, 4, 4, 6)), output_shape=(4, 4, 6))(x))
    x = layers.Lambda(lambda x: ops.reshape(x, (-1, 4 * 4 * 4 * 5)), output_shape=(320,))(x)
    return keras.Model(inputs, layers.Dense(3)(x))


def positions_as_rows():
    x = inputs = keras.Input((7, 3))
    x = layers.Dense(4)(ops.transpose(x, (1, 0, 2)))
    return keras.Model(inputs, layers.Dense(2)(ops.transpose(x, (1, 0, 2))))


def masked():
    """The loop over steps ends with the longest example: at most 7 steps."""
    x = inputs = keras.Input((7,), dtype="int32")
    x = layers.Embedding(9, 3, mask_zero=True)(x)
    return keras.Model(inputs, layers.Dense(2)(layers.LSTM(4)(x)))


def an_activation_with_a_kernel():
    weights = np.ones((6, 6), "float32")
    x = inputs = keras.Input((3,))
    return keras.Model(inputs, layers.Dense(2)(layers.Dense(6, activation=lambda x: ops.matmul(x, weights))(x)))


def tensors_multiplied():
    x = inputs = keras.Input((5, 8))
    scores = ops.softmax(ops.matmul(layers.Dense(4)(x), ops.transpose(layers.Dense(4)(x), (0, 2, 1))))
    return keras.Model(inputs, layers.Dense(2)(ops.einsum("bij,bjk->bik", scores, layers.Dense(6)(x))))


def kernel_from_the_model():
    x = inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 3)(x)
    return keras.Model(inputs, layers.Dense(2)(layers.GlobalAveragePooling2D()(ops.conv(x, np.ones((3, 3, 4, 5), "float32")))))


BY_HAND = {
    per_frame: 6 * (6 * 6 * 9 * 3 * 4 + 4 * 4 * 9 * 4 * 5) + 6 * 5 * 7 + 7 * 2,
    transformer: 4 * 5 * 8 * 8 + 2 * 5 * 5 * 8 + 2 * 5 * 8 * 16 + 8 * 2,
    recurrent: 14 * 3 * 3 * 8 + 14 * 4 * 6 * (8 + 6) + 6 * 2,
    lambda: keras.Sequential([keras.Input((8, 8, 3)), Deep(), layers.Conv2D(2, 1)]): 36 * (27 * 4 + 4 * 2),
    lambda: keras.Sequential([keras.Input((7, 3)), layers.RNN(Cell()), layers.Dense(2)]): 7 * 5 * (3 + 5) + 5 * 2,
    branch_in_both_directions: 7 * (2 * 4 * 4 * (3 + 4) + 3 * 3 * 8 + 8 * 2),
    windows: 64 * 9 * 6 * 5 + 320 * 3,
    windows_by_a_layer: 64 * 6 * 5 + 320 * 3,
    positions_as_rows: 7 * (3 * 4 + 4 * 2),
    masked: 7 * 4 * 4 * (3 + 4) + 4 * 2,
    an_activation_with_a_kernel: 3 * 6 + 6 * 6 + 6 * 2,
    tensors_multiplied: 5 * 8 * (4 + 4 + 6) + 5 * 4 * 5 + 5 * 5 * 6 + 5 * 6 * 2,
    kernel_from_the_model: 36 * 27 * 4 + 16 * 36 * 5 + 5 * 2,
}


@pytest.mark.parametrize("net", BY_HAND)
def test_the_whole_model_by_hand(net):
    model = net()
    graph = kt.trace(model)
    assert graph.macs == BY_HAND[net] == macs_of_the_graph(model)
    assert graph.uncounted == {}
    macs, _ = graph.cost.by_layer()
    assert sum(macs.values()) == sum(macs for _, macs in graph.cost.kernels()) == graph.macs
    assert graph.cost.totals()["macs"] == graph.macs


def test_a_fixed_batch_costs_the_same_per_example():
    for batch in (1, 4):
        x = inputs = keras.Input(batch_shape=(batch, 7, 3))
        x = layers.Dense(5)(ops.reshape(layers.GRU(4, return_sequences=True)(x), (batch * 7, 4)))
        model = keras.Model(inputs, layers.Dense(2)(ops.reshape(x, (batch, 35))))
        assert kt.trace(model).macs == 7 * 3 * 4 * (3 + 4) + 7 * 4 * 5 + 35 * 2


def test_a_length_that_is_known_only_when_the_model_runs():
    x = inputs = keras.Input((5, 6))
    x = layers.EinsumDense("abc,cd->abd", (None, 7))(x)
    assert kt.trace(keras.Model(inputs, layers.Dense(2)(x))).macs == 5 * (6 * 7 + 7 * 2)
    x = inputs = keras.Input((4, 6))
    x = layers.Lambda(lambda x: ops.reshape(x, (-1, 8, 3)), output_shape=(None, 3))(x)
    assert kt.trace(keras.Model(inputs, layers.Dense(5)(x))).macs == 8 * 3 * 5


def mobile():
    """Depthwise blocks with a squeeze-and-excite gate, as in MobileNetV2 and V3."""
    x = inputs = keras.Input((16, 16, 3))
    x = layers.ReLU(6.0)(layers.BatchNormalization()(layers.Conv2D(8, 3, strides=2, padding="same", use_bias=False)(x)))
    for stride in (1, 2):
        y = layers.ReLU(6.0)(layers.BatchNormalization()(layers.Conv2D(24, 1)(x)))
        y = layers.DepthwiseConv2D(3, strides=stride, padding="same", depth_multiplier=2)(y)
        gate = layers.Conv2D(48, 1, activation="sigmoid")(layers.GlobalAveragePooling2D(keepdims=True)(y))
        y = layers.BatchNormalization()(layers.Conv2D(8, 1)(layers.Multiply()([y, gate])))
        x = layers.Add()([x, y]) if stride == 1 else y
    return keras.Model(inputs, layers.Dense(5)(layers.Dense(7, activation="relu")(layers.Flatten()(x))))


def assorted():
    """Grouped, dilated, separable and transposed convolutions of several ranks, and EinsumDense."""
    x = inputs = keras.Input((12, 12, 4))
    x = layers.Conv2D(8, 3, groups=2, padding="same")(x)
    x = layers.Conv2D(6, 3, dilation_rate=2, padding="same")(x)
    x = layers.DepthwiseConv2D(3, dilation_rate=2, padding="same")(x)
    x = layers.SeparableConv2D(9, 3, depth_multiplier=2)(x)
    x = layers.Conv2DTranspose(5, 3, strides=2, padding="same")(x)
    x = layers.Conv2D(6, (1, 5), strides=2)(x)
    x = layers.Reshape((-1, 6))(x)
    x = layers.SeparableConv1D(8, 3, strides=2)(x)
    x = layers.Conv1DTranspose(4, 3)(layers.DepthwiseConv1D(3)(x))
    x = layers.Conv1D(6, 3, dilation_rate=2, padding="causal")(x)
    x = layers.EinsumDense("abc,cd->abd", (None, 7), bias_axes="d")(x)
    x = layers.EinsumDense("...x,yx->...y", 4)(x)
    return keras.Model(inputs, layers.EinsumDense("abc,cd->ad", 3)(x))


def volume():
    x = inputs = keras.Input((6, 6, 6, 2))
    x = layers.Conv3DTranspose(3, 2, strides=2)(layers.Conv3D(4, 3)(x))
    return keras.Model(inputs, layers.Dense(2)(layers.GlobalAveragePooling3D()(x)))


RULED = [nets.chain, nets.residual, nets.nested, mobile, volume]


@pytest.mark.parametrize("net", [*RULED, assorted])
def test_rules_and_the_graph_agree(net):
    """Two counts that know nothing of each other: neither lies."""
    model = net()
    graph = kt.trace(model)
    assert not graph.cost.hidden
    assert graph.macs == macs_of_the_graph(model)


@pytest.mark.large
@pytest.mark.parametrize(
    "name",
    "ConvNeXtTiny DenseNet121 EfficientNetB0 EfficientNetV2B0 InceptionResNetV2 InceptionV3 MobileNet MobileNetV2 "
    "MobileNetV3Small NASNetMobile ResNet50 ResNet50V2 VGG16 Xception".split(),
)
def test_rules_and_the_graph_agree_on_published_nets(name):
    model = getattr(keras.applications, name)(weights=None, input_shape=(224, 224, 3))
    assert kt.trace(model).macs == macs_of_the_graph(model)


class TestShares:
    """What the issue saw: half of what is followed is not half of the model."""

    def test_a_plan_is_of_the_whole_model(self):
        graph = kt.trace(transformer())
        attention = 4 * 5 * 8 * 8 + 2 * 5 * 5 * 8
        scores = kt.Scores(graph, np.arange(graph.channels, dtype=float))
        plan = kt.plan(scores, kt.Target(macs=0.8))
        left = attention + len(plan.kept["wide"]) * 2 * 5 * 8 + 8 * 2
        assert plan.before["macs"] == BY_HAND[transformer] and plan.after["macs"] == left <= 0.8 * BY_HAND[transformer]
        small = kt.rebuild(graph, plan)
        assert kt.trace(small).macs == left == macs_of_the_graph(small)

    def test_the_smallest_that_can_be_reached_is_said_with_the_kernels_in_the_way(self):
        graph = kt.trace(per_frame())
        scores = kt.Scores(graph, np.zeros(graph.channels))
        with pytest.raises(
            kt.errors.InfeasibleTarget, match=r"40,608 MACs are in kernels that no rule follows \(frames\)"
        ) as caught:
            kt.plan(scores, kt.Target(macs=0.5))
        assert "Locks in the way: frames (frames (TimeDistributed) has no rule)" in str(caught.value)

    def test_a_model_in_which_nothing_has_a_rule(self):
        model = keras.Sequential([keras.Input((5, 8)), layers.LSTM(4, return_sequences=True), layers.GRU(3)])
        graph = kt.trace(model)
        assert graph.macs == 5 * (4 * 4 * 12 + 3 * 3 * 7)
        with pytest.raises(kt.errors.InfeasibleTarget, match="Locks in the way"):
            kt.plan(kt.Scores(graph, np.zeros(graph.channels)), kt.Target(macs=0.7))

    def test_notes_and_the_table_name_what_stays(self):
        graph = kt.trace(recurrent())
        note = "4.704 kMACs (82.2 %) are in kernels that no rule follows; they stay as they are: lstm."
        assert graph.notes == (note,)
        text = graph.render("markdown")
        assert note in text and "5.724 kMACs" in text

    def test_bit_operations_count_them_in_floating_point(self):
        graph = kt.trace(recurrent())
        conv, lstm, dense = 14 * 3 * 3 * 8, 14 * 4 * 6 * (8 + 6), 6 * 2
        assert kt.bops(graph, kt.Int8PTQ()) == conv * 8 * 8 + lstm * 32 * 32 + dense * 8 * 8
        first = kt.trace(keras.Sequential([keras.Input((5, 8)), layers.LSTM(4), layers.Dense(2)]))
        assert kt.bops(first) == 5 * 4 * 4 * 12 * 32 * 32 + 4 * 2 * 32 * 32, "what an LSTM puts out is no image"


def with_gap():
    """A convolution that can be followed, and Python code that nobody can look into."""
    x = inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(6, 3, name="conv")(x)
    x = layers.Lambda(lambda x: tf.ensure_shape(tf.py_function(lambda a: a, [x], "float32"), (None, 6, 6, 6)), name="python")(x)
    x = layers.Conv2D(8, 3, activation="relu", name="free")(x)
    model = keras.Model(inputs, layers.Dense(2)(layers.GlobalAveragePooling2D()(x)), name="gap")
    return nets.compiled(model)


@keras.saving.register_keras_serializable("hidden")
class Eager(layers.Layer):
    """Works on values only."""

    def call(self, x):
        return ops.convert_to_tensor(np.asarray(x) * 2)

    def compute_output_spec(self, x):
        return keras.KerasTensor(x.shape, x.dtype)


class TestGaps:
    def test_are_named(self):
        graph = kt.trace(with_gap())
        assert graph.uncounted == {"python": "runs EagerPyFunc"}
        assert graph.notes == ("MACs that cannot be counted are left out: python (runs EagerPyFunc).",)
        assert graph.macs == 36 * 27 * 6 + 16 * 54 * 8 + 8 * 2

    def test_a_layer_that_does_not_run_in_a_graph(self):
        graph = kt.trace(keras.Sequential([keras.Input((4,)), layers.Dense(3), Eager(name="eager"), layers.Dense(2)]))
        assert list(graph.uncounted) == ["eager"] and graph.uncounted["eager"].startswith("cannot be called in a graph: ")
        assert graph.macs == 4 * 3 + 3 * 2

    def test_a_loop_and_rows_that_depend_on_the_values(self):
        def until(x):
            return tf.while_loop(lambda y: tf.reduce_sum(y) < 9.0, lambda y: (y @ tf.ones((3, 3)),), (x,))[0]

        model = keras.Sequential([keras.Input((4,)), layers.Dense(3), layers.Lambda(until, name="until"), layers.Dense(2)])
        assert kt.trace(model).uncounted == {"until": "runs a loop that runs as often as the values say"}
        picked = layers.Lambda(lambda x: tf.boolean_mask(x, x[:, 0] > 0), output_shape=(4,), name="picked")
        model = keras.Sequential([keras.Input((4,)), picked, layers.Dense(3, name="dense")])
        assert kt.trace(model).uncounted == {"dense": "lengths that depend on the values"}

    def test_a_composite_layer_on_unknown_lengths(self):
        graph = kt.trace(keras.Sequential([keras.Input((None, None, 3)), Deep(name="deep"), layers.Conv2D(2, 1)]))
        assert graph.uncounted == {"deep": "its lengths are not known, and it cannot be called with lengths of 1"}

    def test_a_target_of_macs_is_refused_with_the_way_out(self, tmp_path):
        model, (x, y) = with_gap(), nets.images()
        target = kt.Target(macs=0.7)
        graph = kt.trace(model)
        text = (
            r"Received: Target\(macs=0.7\) for 'gap', where those of python \(runs EagerPyFunc\) cannot.*allow_uncounted=True"
        )
        with pytest.raises(kt.errors.BadInput, match=text):
            kt.plan(kt.Scores(graph, np.zeros(graph.channels)), target)
        with pytest.raises(kt.errors.BadInput, match=text):
            kt.prune(model, x, target=target, verbose=0)
        with pytest.raises(kt.errors.BadInput, match=text):
            kt.fit_with_pruning(model, x, y, target=target, epochs=1, verbose=0)
        with pytest.raises(kt.errors.BadInput, match=text):
            kt.sweep(model, x, y, validation_data=(x, y), targets=(0.7,), run_dir=tmp_path / "sweep", verbose=0)
        assert not (tmp_path / "sweep").exists()

    def test_a_gap_that_is_accepted_is_in_the_report(self):
        recipe = kt.Recipe(criterion="magnitude")
        target = kt.Target(macs=0.8, allow_uncounted=True)
        result = kt.prune(with_gap(), target=target, recipe=recipe, verbose=0)
        assert len(result.plan.kept["free"]) < 8
        assert "MACs leave out what cannot be counted: python (runs EagerPyFunc)." in result.report.render("markdown")
        again = type(result.report).from_json(result.report.to_json())
        assert again.settings["uncounted"] == {"python": "runs EagerPyFunc"}

    def test_a_sweep_that_accepts_the_gap_says_so(self, tmp_path):
        def until(x):
            return tf.while_loop(lambda y: tf.reduce_sum(y) < 9.0, lambda y: (y @ tf.ones((4, 4)) + 1.0,), (x,))[0]

        x = inputs = keras.Input((8, 8, 3))
        x = layers.Conv2D(4, 1)(layers.Conv2D(6, 3, activation="relu")(x))
        x = layers.Lambda(until, output_shape=(4,), name="until")(layers.GlobalAveragePooling2D()(x))
        model = nets.compiled(keras.Model(inputs, layers.Dense(2)(x)))
        options = {"targets": (0.7,), "quantizers": ("float32",), "epochs": 0, "runs": 2, "allow_uncounted": True, "verbose": 0}
        x, y = nets.images()
        table = kt.sweep(model, x, y, validation_data=(x, y), run_dir=tmp_path, **options)
        assert len(table.rows) == 1
        assert table.settings["uncounted"] == {"until": "runs a loop that runs as often as the values say"}

    @pytest.mark.parametrize("target", [kt.Target(params=0.8), kt.Target(channels=0.8)])
    def test_other_budgets_know_no_gap(self, target):
        assert kt.prune(with_gap(), target=target, recipe=kt.Recipe(criterion="magnitude"), verbose=0).plan.kept

    def test_a_model_without_macs(self):
        model = keras.Sequential(
            [keras.Input((8, 8, 3)), layers.BatchNormalization(), layers.GlobalAveragePooling2D()], name="none"
        )
        graph = kt.trace(model)
        with pytest.raises(kt.errors.BadInput, match="which has 0 MACs: no kernel and no product of tensors"):
            kt.plan(kt.Scores(graph, np.zeros(graph.channels)), kt.Target(macs=0.7))


class TestTargetArgument:
    def test_is_shown_and_checked(self):
        assert repr(kt.Target(macs=0.5, allow_uncounted=True)) == "Target(macs=0.5, allow_uncounted=True)"
        with pytest.raises(kt.errors.BadInput, match=r"Target\(allow_uncounted=\) must be True or False. Received: 1"):
            kt.Target(macs=0.5, allow_uncounted=1)


@keras.saving.register_keras_serializable("hidden")
class Busy(layers.Layer):
    """Has everything that a call can change, and fails if told to."""

    def __init__(self, fails=False, **options):
        super().__init__(**options)
        self.fails = fails
        self.seeds = keras.random.SeedGenerator(3)
        self.seen = keras.metrics.Mean(name="seen")
        self.norm = layers.BatchNormalization()
        self.dense = layers.Dense(4)
        self.last = "nothing yet"

    def build(self, shape):
        self.count = self.add_weight(shape=(), initializer="zeros", trainable=False, name="count")
        self.norm.build(shape)
        self.dense.build(shape)

    def call(self, x, training=None):
        self.count.assign_add(1.0)
        self.seen.update_state(ops.mean(x))
        self.add_loss(ops.mean(x))
        x = self.norm(x, training=True) + keras.random.normal(ops.shape(x), seed=self.seeds)
        self.last = x
        if self.fails and x.shape[0] == 1:  # as in the graph that is counted
            raise RuntimeError("not in here")
        return self.dense(x)


class TestNothingIsLeftBehind:
    @pytest.mark.parametrize("fails", [False, True])
    def test_on_a_layer(self, fails):
        busy = Busy(fails, name="busy")
        model = keras.Sequential([keras.Input((3,)), busy, layers.Dense(2)])
        model(np.ones((2, 3), "float32"))

        def state():
            attributes = {name: id(value) for layer in model._flatten_layers() for name, value in vars(layer).items()}
            return [v.numpy().tolist() for v in (*model.variables, *busy.seen.variables)], len(busy._losses), attributes

        before = state()
        graph = kt.trace(model)
        assert graph.macs == (0 if fails else 3 * 4) + 4 * 2
        assert bool(graph.uncounted) == fails
        assert state() == before
        assert len(model.losses) == 1

    def test_in_the_random_state(self):
        model = keras.Sequential([keras.Input((3,)), layers.Lambda(lambda x: x + keras.random.normal((1, 3))), layers.Dense(2)])
        keras.utils.set_random_seed(1)
        expected = keras.random.normal((2,)).numpy()
        keras.utils.set_random_seed(1)
        assert kt.trace(model).macs == 6
        assert (keras.random.normal((2,)).numpy() == expected).all()


class TestRulesOfYours:
    def test_kernels_that_a_rule_forgets_are_counted(self, monkeypatch):
        from keras_taylor.rules import _registry

        monkeypatch.setattr(_registry, "_REGISTRY", dict(_registry._REGISTRY))

        @kt.register_rule(Deep)
        class Careless(kt.rules.LayerRule):
            def trace(self, call, labels):
                return labels.refuse(call, "is left alone")

        graph = kt.trace(keras.Sequential([keras.Input((8, 8, 3)), Deep(0), layers.Conv2D(2, 1)]))
        assert graph.macs == 36 * (27 * 4 + 4 * 2)


class TestWhatItCosts:
    @pytest.mark.parametrize("net", RULED)
    def test_models_with_rules_run_nothing(self, net, monkeypatch):
        monkeypatch.setattr(OpMacs, "new", None)
        graph = kt.trace(net())
        assert graph.macs
        assert hidden_kernels(graph.program, graph.steps).macs == {}

    def test_a_call_without_a_rule_does_not_run_the_others(self, monkeypatch):
        ran = []
        monkeypatch.setattr(
            "keras_taylor._trace.hidden_kernels.infer", lambda call, a, k: ran.append(call.name) or call.operation(*a, **k)
        )
        assert kt.trace(recurrent()).macs == BY_HAND[recurrent]
        assert ran == ["lstm"]
