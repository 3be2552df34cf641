"""`kt.prune` and `kt.fit_with_pruning` on scikit-learn's handwritten digits."""

import json
from dataclasses import replace

import keras
import numpy as np
import pytest
import tensorflow as tf
from sklearn.datasets import load_digits

import keras_taylor as kt
from keras_taylor._plan.pruning_plan import to_mask
from keras_taylor._rebuild import rebuild
from keras_taylor._repair.reconstruction import Reconstruction
from keras_taylor._run.recipe import recipe_for
from tests import nets

layers = keras.layers


def load():
    x, y = load_digits(return_X_y=True)
    return (x / 16.0).reshape(-1, 8, 8, 1).astype("float32"), y


X, Y = load()
TRAIN, VALIDATION = (X[:640], Y[:640]), (X[1400:], Y[1400:])


def digits_net():
    x = inputs = keras.Input((8, 8, 1), name="image")
    x = skip = layers.Conv2D(12, 3, padding="same", activation="relu", name="a")(x)
    x = layers.Conv2D(16, 3, padding="same", activation="relu", name="b")(x)
    x = layers.BatchNormalization(momentum=0.8, name="bn")(layers.Conv2D(12, 3, padding="same", name="c")(x))
    x = layers.MaxPooling2D(2, name="pool")(layers.Add(name="add")([x, skip]))
    return keras.Model(inputs, layers.Dense(10, name="logits")(layers.Flatten(name="flat")(x)), name="digits")


def compiled():
    keras.utils.set_random_seed(0)
    model = digits_net()
    model.compile(keras.optimizers.Adam(3e-3), nets.CROSS_ENTROPY, metrics=["accuracy"])
    return model


@pytest.fixture(scope="module")
def trained_model():
    model = compiled()
    model.fit(*TRAIN, epochs=6, verbose=0)
    return model


@pytest.fixture
def model(trained_model):
    yield trained_model


class Log(keras.callbacks.Callback):
    """What a callback of the user's sees."""

    def __init__(self):
        super().__init__()
        self.begins, self.ends, self.widths, self.stretches = [], [], [], []

    def on_train_begin(self, logs=None):
        self.stretches.append([])

    def on_epoch_begin(self, epoch, logs=None):
        self.begins.append(epoch)
        self.stretches[-1].append(epoch)
        self.widths.append(self.model.get_layer("b").filters)

    def on_epoch_end(self, epoch, logs=None):
        self.ends.append((epoch, sorted(logs)))


@pytest.fixture(scope="module")
def run(trained_model, tmp_path_factory):
    """Half the MACs in two steps and three epochs; everything about this run is then looked at."""
    before, log, folder = nets.state(trained_model), Log(), tmp_path_factory.mktemp("runs") / "new" / "run"
    result = kt.fit_with_pruning(
        trained_model,
        *TRAIN,
        target=kt.Target(macs=0.5),
        epochs=3,
        recipe=kt.Recipe(schedule=kt.Schedule.linear(steps=2), repair=None),
        validation_data=VALIDATION,
        callbacks=[log],
        run_dir=folder,
        verbose=0,
    )
    nets.assert_same_state(before, nets.state(trained_model))
    return result, log, folder


class TestRun:
    def test_the_budget_is_met_and_the_model_still_reads_digits(self, run, model):
        result, _, _ = run
        full = kt.trace(model).macs
        assert 0.4 * full < kt.trace(result.model).macs <= 0.5 * full
        accuracy = result.model.evaluate(*VALIDATION, verbose=0, return_dict=True)["accuracy"]
        assert accuracy == pytest.approx(result.report["final"].metrics["accuracy"])
        assert accuracy > result.report["before"].metrics["accuracy"] - 0.04
        assert accuracy > 0.7

    def test_epochs_are_counted_through(self, run):
        result, log, _ = run
        assert log.begins == [epoch for epoch, _ in log.ends] == result.history.epoch == [0, 1, 2]
        assert log.stretches == [[0], [1, 2]]

    def test_history_is_as_long_as_the_epochs(self, run):
        history = run[0].history.history
        assert set(history) == {"accuracy", "loss", "val_accuracy", "val_loss"}
        assert all(len(values) == 3 for values in history.values())
        stretch = [run[0].report["pruned 2"].metrics["accuracy"], *history["val_accuracy"][1:]]
        assert max(stretch) == pytest.approx(run[0].report["final"].metrics["accuracy"])
        assert isinstance(run[0].history, keras.callbacks.History) and run[0].history.model is run[0].model

    def test_the_plan_of_the_whole_run_gives_the_same_architecture(self, run, model):
        result, _, _ = run
        rebuilt = kt.rebuild(model, result.plan)
        assert [w.shape for w in rebuilt.weights] == [w.shape for w in result.model.weights]
        assert [layer.name for layer in rebuilt.layers] == [layer.name for layer in result.model.layers]
        assert result.plan.after["macs"] == kt.trace(result.model).macs
        assert kt.verify(model, result.plan, rebuilt).ok

    def test_the_report_has_all_stages(self, run, model):
        report = run[0].report
        assert [stage.name for stage in report.stages] == ["before", "pruned 1", "trained 1", "pruned 2", "final"]
        assert [stage.epochs for stage in report.stages] == [0, 0, 1, 1, 3]
        macs = [stage.macs for stage in report.stages]
        assert macs[0] == kt.trace(model).macs and macs[1] == macs[2] <= 0.75 * macs[0] and macs[3] == macs[4] <= 0.5 * macs[0]
        assert all(set(stage.metrics) == {"accuracy", "loss"} for stage in report.stages)
        assert report.settings["criterion"] == "taylor_gate" and report.settings["epochs"] == 3
        text = str(report)
        for part in ("pruned 1", "final", "accuracy", "100.0 %", "1 MAC = 1", "rank=saving"):
            assert part in text

    def test_the_files_of_the_run(self, run):
        result, _, folder = run
        assert sorted(path.name for path in folder.iterdir()) == ["history.json", "model.keras", "plan.json", "report.json"]
        assert kt.PruningPlan.load(folder / "plan.json") == result.plan
        loaded = keras.models.load_model(folder / "model.keras")
        np.testing.assert_allclose(loaded(X[:4]), result.model(X[:4]), rtol=1e-5, atol=1e-6)
        assert json.loads((folder / "report.json").read_text())["stages"][-1]["name"] == "final"
        assert json.loads((folder / "history.json").read_text())["epoch"] == [0, 1, 2]

    def test_the_second_removal_sees_the_trained_model(self, run):
        assert run[1].widths[0] >= run[1].widths[1] == run[1].widths[2]

    def test_the_optimizer_has_counted_every_step(self, run, model):
        """From where it began anew: averages of another loss would make huge steps."""
        assert int(model.optimizer.iterations.numpy()) > 0
        assert int(run[0].model.optimizer.iterations.numpy()) == 3 * 640 // 32


def fit(model, data=TRAIN, *rest, epochs=2, **options):
    options.setdefault("target", kt.Target(macs=0.6))
    options.setdefault("verbose", 0)
    given = data if isinstance(data, tuple) and not rest else (data, *rest)
    return kt.fit_with_pruning(model, *given, epochs=epochs, **nets.with_recipe(options))


SMALL = (X[:96], Y[:96])


class TestArguments:
    def test_arrays_in_a_tuple_with_weights(self, model):
        weights = np.ones(96, "float32")
        result = fit(model, (*SMALL, weights), None, epochs=1)
        assert result.history.epoch == [0]

    def test_tf_data(self, model):
        data = tf.data.Dataset.from_tensor_slices(SMALL).shuffle(96, seed=0).batch(32)
        result = fit(model, data, target=kt.Target(params=0.6), validation_data=data, callbacks=[log := Log()])
        assert log.begins == [0, 1] and kt.trace(result.model).params <= 0.6 * kt.trace(model).params

    def test_a_py_dataset(self, model):
        class Batches(keras.utils.PyDataset):
            def __len__(self):
                return 3

            def __getitem__(self, i):
                return X[32 * i : 32 * i + 32], Y[32 * i : 32 * i + 32]

        assert fit(model, Batches(), epochs=1).history.epoch == [0]

    def test_class_weight_and_batch_size(self, model):
        heavy = fit(model, SMALL, epochs=1, class_weight={3: 50.0}, batch_size=48, distill=None)
        plain = fit(model, SMALL, epochs=1, batch_size=48, distill=None)
        assert heavy.history.history["loss"][0] > 2 * plain.history.history["loss"][0]

    def test_steps_per_epoch_of_an_endless_data_set(self, model):
        data = tf.data.Dataset.from_tensor_slices(SMALL).repeat().batch(16)
        result = fit(model, data, steps_per_epoch=3, examples=64, validation_data=data, validation_steps=2)
        assert int(result.model.optimizer.iterations.numpy()) == 2 * 3

    def test_loss_optimizer_and_metrics_that_are_given(self):
        model = digits_net()
        one_hot = np.eye(10, dtype="float32")[SMALL[1]]
        result = fit(model, (SMALL[0], one_hot), epochs=1, loss="mse", optimizer=keras.optimizers.SGD(1e-3), metrics=["mae"])
        assert set(result.history.history) == {"loss", "mae"}
        assert isinstance(result.model.optimizer, keras.optimizers.SGD)
        assert not model.compiled

    def test_criteria_by_name_and_rank(self, model):
        result = fit(model, SMALL, epochs=1, criterion="magnitude", rank="score", seed=3)
        assert result.report.settings["criterion"] == "magnitude" and result.report.settings["rank"] == "score"

    def test_no_epochs_prune_only(self, model):
        result = fit(model, SMALL, epochs=0)
        assert result.history.epoch == [] and kt.trace(result.model).macs <= 0.6 * kt.trace(model).macs

    def test_same_seed_same_result(self, model):
        plans = []
        for _ in range(2):
            keras.utils.set_random_seed(5)
            plans.append(fit(model, SMALL, epochs=1, examples=32, seed=1).plan)
        assert plans[0] == plans[1]

    def test_a_callback_that_stops_the_training(self, model):
        class Stop(keras.callbacks.Callback):
            def on_epoch_end(self, epoch, logs=None):
                self.model.stop_training = epoch == 1

        result = fit(model, SMALL, epochs=5, schedule=kt.Schedule(1), callbacks=[Stop()])
        assert result.history.epoch == [0, 1]
        assert all(len(values) == 2 for values in result.history.history.values())

    def test_cubic_steps_with_pauses(self, model):
        result = fit(model, SMALL, epochs=4, schedule=kt.Schedule.cubic(steps=2, epochs_per_step=2))
        assert [stage.epochs for stage in result.report.stages] == [0, 0, 2, 2, 4]


class TestConstraints:
    def nested(self):
        x = inner = keras.Input((8, 8, 1))
        x = layers.Conv2D(12, 3, activation="relu", name="a")(x)
        x = layers.Conv2D(16, 3, activation="relu", name="b")(x)
        body = keras.Model(inner, layers.Conv2D(8, 1, name="c")(x), name="body")
        inputs = keras.Input((8, 8, 1))
        model = keras.Model(inputs, layers.Dense(10, name="logits")(layers.Flatten(name="flat")(body(inputs))), name="outer")
        model.compile("adam", nets.CROSS_ENTROPY)
        return model

    def test_names_mean_the_original_in_every_step(self):
        model = self.nested()
        rules = kt.Constraints(keep=["body/c"], bounds={"body/b": (0.5, 0.75), "body/a": (3, 12)})
        result = fit(model, SMALL, epochs=2, target=kt.Target(macs=0.55), constraints=rules, schedule=kt.Schedule(3, 0))
        assert [stage.name for stage in result.report.stages][-2:] == ["pruned 3", "final"]
        small = result.model
        assert small.get_layer("c").filters == 8
        assert 8 <= small.get_layer("b").filters <= 12
        assert 3 <= small.get_layer("a").filters < 12
        assert set(result.plan.kept) <= {"body/a", "body/b"}
        rebuilt = kt.rebuild(model, result.plan)
        assert [w.shape for w in rebuilt.weights] == [w.shape for w in small.weights]

    def test_round_to_and_a_predicate(self, model):
        rules = kt.Constraints(round_to=4, keep=lambda name: name == "b")
        result = fit(model, SMALL, epochs=2, constraints=rules, target=kt.Target(macs=0.7), schedule=kt.Schedule(2))
        assert result.model.get_layer("b").filters == 16
        assert result.model.get_layer("a").filters % 4 == 0

    def test_a_predicate_sees_the_names_of_the_original(self):
        model = self.nested()
        rules = kt.Constraints(keep=lambda name: name == "body/b")
        result = fit(model, SMALL, epochs=2, constraints=rules, target=kt.Target(macs=0.6), schedule=kt.Schedule(2))
        assert result.model.get_layer("b").filters == 16


class TestOutput:
    def test_it_resembles_that_of_fit(self, model, capsys):
        fit(model, SMALL, epochs=3, schedule=kt.Schedule(2), verbose=2)
        lines = capsys.readouterr().out.splitlines()
        assert [line for line in lines if line.startswith("Epoch")] == ["Epoch 1/3", "Epoch 2/3", "Epoch 3/3"]
        assert sum("Pruning step" in line and "MACs left" in line for line in lines) == 2
        assert any("accuracy:" in line and "3/3" in line for line in lines)

    def test_silence(self, model, capsys):
        fit(model, SMALL, epochs=1, verbose=0)
        captured = capsys.readouterr()
        assert captured.out == ""


class TestPrune:
    def test_one_shot(self, model):
        before = nets.state(model)
        recipe = kt.Recipe(examples=320, repair="lstsq")
        result = kt.prune(model, *TRAIN, target=kt.Target(macs=0.5), recipe=recipe, validation_data=VALIDATION, verbose=0)
        nets.assert_same_state(before, nets.state(model))
        assert kt.trace(result.model).macs <= 0.5 * kt.trace(model).macs
        assert [stage.name for stage in result.report.stages] == ["before", "final"]
        accuracy = result.model.evaluate(*VALIDATION, verbose=0, return_dict=True)["accuracy"]
        assert result.report["final"].metrics["accuracy"] == pytest.approx(accuracy)
        assert result.model.compiled and result.history.history == {}
        assert result.repair.methods == ("lstsq",)
        assert [a.shape for a in result.model.weights] == [a.shape for a in kt.rebuild(model, result.plan).weights]

    def test_without_repair_it_is_the_masked_model(self, model):
        result = kt.prune(model, *TRAIN, target=kt.Target(macs=0.5), recipe=kt.Recipe(examples=64, repair=None), verbose=0)
        assert result.repair is None and result.report.settings["repair"] is None
        assert kt.verify(model, result.plan, result.model).ok

    def test_repair_is_the_default_and_shown(self, model):
        result = kt.prune(model, X[:320], target=kt.Target(macs=0.5), verbose=0)
        assert result.report.settings["repair"] == "auto" and result.repair is not None
        assert "Pruning report" in str(result) and "lstsq" in str(result)

    def test_controls_need_no_data(self, model):
        for criterion in ("random", "magnitude"):
            result = kt.prune(model, target=kt.Target(macs=0.7), recipe=kt.Recipe(criterion=criterion), verbose=0)
            assert result.report.stages[0].metrics == {}

    def test_a_wrongly_cut_weight_is_caught_by_verify(self, model, monkeypatch):
        cut = rebuild.apply_cut
        monkeypatch.setattr(rebuild, "apply_cut", lambda value, cuts: cut(value, [(a, k[::-1]) for a, k in cuts]))
        with pytest.raises(kt.errors.KerasTaylorError, match="This is a fault of a layer rule"):
            kt.prune(model, target=kt.Target(macs=0.7), recipe=kt.Recipe(criterion="random"), verbose=0)


@pytest.mark.large
def test_digits_keep_their_accuracy_at_half_the_macs():
    """Within one point of the unpruned net after as many epochs of fine-tuning."""
    model = compiled()
    model.fit(X[:1400], Y[:1400], epochs=15, verbose=0)
    result = kt.fit_with_pruning(
        model,
        X[:1400],
        Y[:1400],
        target=kt.Target(macs=0.5),
        epochs=10,
        recipe=kt.Recipe(repair=None),
        validation_data=VALIDATION,
        verbose=0,
    )
    metrics = [result.report[name].metrics["accuracy"] for name in ("before", "final")]
    assert metrics[1] >= metrics[0] - 0.01


class Distance(layers.Layer):
    """Adds how far its second input is from the first as a loss."""

    def call(self, pair):
        self.add_loss(keras.ops.mean(keras.ops.square(pair[0] - pair[1])))
        return pair[1]


class Penalty(layers.Layer):
    def call(self, x):
        self.add_loss(1e-3 * keras.ops.mean(keras.ops.square(x)))
        return x


@pytest.mark.parametrize("kind", ["arrays", "data set", "two losses"])
def test_what_layers_add_is_loss_enough(kind):
    x = inputs = keras.Input((8, 8, 1))
    x = Penalty()(layers.Conv2D(6, 3, activation="relu", padding="same", name="a", kernel_regularizer="l2")(x))
    x = layers.Conv2D(1, 3, padding="same", name="b")(layers.Conv2D(6, 3, activation="relu", padding="same", name="c")(x))
    model = keras.Model(inputs, Penalty()(Distance()([inputs, x])) if kind == "two losses" else Distance()([inputs, x]))
    kt.testing.randomize(model)
    model.compile("adam")
    images = np.random.default_rng(0).random((32, 8, 8, 1)).astype("float32")
    data = tf.data.Dataset.from_tensor_slices(images).batch(16) if kind == "data set" else images
    before = model.evaluate(images, verbose=0)
    result = kt.fit_with_pruning(model, data, target=kt.Target(macs=0.7), epochs=2, shuffle=kind != "data set", verbose=0)
    assert kt.trace(result.model).macs <= 0.7 * kt.trace(model).macs
    assert result.history.history["loss"][-1] < before


class TestData:
    """What `fit` does with data, a run does, too."""

    RECIPE = kt.Recipe(criterion="l1", repair=None, schedule=kt.Schedule.linear(2))

    def test_data_that_end_begin_again_in_the_next_stretch(self):
        x, y = nets.images(32)
        data = tf.data.Dataset.from_tensor_slices((x, y)).batch(8)
        result = kt.fit_with_pruning(
            nets.compiled(nets.chain()), data, target=kt.Target(macs=0.5), epochs=3, steps_per_epoch=4, shuffle=False,
            recipe=self.RECIPE, verbose=0,
        )  # fmt: skip
        assert len(result.history.history["loss"]) == 3 and int(result.model.optimizer.iterations) == 12

    def test_arrays_without_labels_come_in_the_batches_that_were_asked_for(self):
        inputs = keras.Input((8, 8, 1))
        x = Penalty()(layers.Conv2D(4, 1)(layers.Conv2D(6, 3, name="a")(inputs)))
        model = keras.Model(inputs, layers.Conv2D(1, 3, name="b")(x))
        kt.testing.randomize(model)
        model.compile("sgd")
        images = np.random.default_rng(0).random((32, 8, 8, 1)).astype("float32")
        result = kt.fit_with_pruning(
            model, images, target=kt.Target(macs=0.7), epochs=1, batch_size=16, validation_data=images,
            recipe=replace(self.RECIPE, schedule=None), verbose=0,
        )  # fmt: skip
        assert int(result.model.optimizer.iterations) == 2 and "loss" in result.report["final"].metrics

    def test_averages_of_weights_begin_at_the_repaired_ones(self):
        model, (x, y) = nets.chain(), nets.images(32)
        model.compile(keras.optimizers.SGD(0.01, use_ema=True, ema_momentum=0.999), nets.CROSS_ENTROPY)
        model.fit(x, y, verbose=0)
        recipe = replace(self.RECIPE, repair="lstsq", schedule=None)
        still = keras.callbacks.LearningRateScheduler(lambda epoch, rate: 0.0)
        result = kt.fit_with_pruning(
            model, x, y, target=kt.Target(macs=0.7), epochs=1, recipe=recipe, callbacks=[still], verbose=0
        )
        for repaired, trained in zip(result.repair.model.get_weights(), result.model.get_weights(), strict=True):
            np.testing.assert_allclose(trained, repaired, rtol=1e-5, atol=1e-6)

    def test_a_generator_cannot_validate(self):
        x, y = nets.images(16)
        with pytest.raises(kt.errors.BadInput, match="validation_data must be readable more than once"):
            kt.fit_with_pruning(
                nets.compiled(nets.chain()), x, y, target=kt.Target(macs=0.5), validation_data=iter([(x, y)]), verbose=0
            )

    def test_a_metric_with_a_value_for_each_class(self):
        x, y = nets.images(16)
        model = nets.chain()
        model.compile("sgd", keras.losses.CategoricalCrossentropy(from_logits=True), metrics=[keras.metrics.F1Score()])
        y = np.eye(2)[y]
        result = kt.fit_with_pruning(
            model, x, y, target=kt.Target(macs=0.7), epochs=1, validation_data=(x, y), recipe=self.RECIPE, verbose=0
        )
        assert 0 <= result.report["final"].metrics["f1_score"] <= 1


class TestDistillation:
    """Training beside the unpruned model."""

    PLAIN = kt.Recipe(repair=None, schedule=kt.Schedule(steps=1), gentle=False)

    def test_the_distance_is_learned_away_and_nothing_stays_patched(self, trained_model):
        def distance(result):
            graph, small = kt.trace(trained_model), kt.trace(result.model)
            keep = graph.keep_labels(to_mask(graph, result.plan))
            objective = Reconstruction(graph, keep, small)
            batch = [tf.constant(VALIDATION[0])]
            return float(tf.reduce_sum(objective.distances(batch, objective.targets(batch))))

        found = {}
        for distill in (None, kt.Distill()):
            recipe = replace(self.PLAIN, distill=distill)
            found[distill is None] = kt.fit_with_pruning(
                trained_model, *TRAIN, target=kt.Target(macs=0.5), epochs=3, recipe=recipe, verbose=0
            )
        assert found[True].report.settings["learns"] == "the labels"
        assert found[False].report.settings["learns"] == "what the unpruned model computes"
        assert found[False].report.settings["distill"]["augment"] == "auto"
        assert distance(found[False]) < 0.7 * distance(found[True])
        assert "call" not in vars(found[False].model) and "compute_loss" not in vars(found[False].model)
        found[False].model.fit(*SMALL, verbose=0)

    def test_labels_are_not_looked_at_where_the_model_has_learnt_them(self, trained_model):
        def pruned(y):
            recipe = replace(self.PLAIN, criterion="l1", distill=kt.Distill(labels=0))
            target = kt.Target(macs=0.5)
            return kt.fit_with_pruning(trained_model, TRAIN[0], y, target=target, epochs=1, recipe=recipe, verbose=0).model

        keras.utils.set_random_seed(0)
        first = pruned(TRAIN[1]).get_weights()
        keras.utils.set_random_seed(0)
        second = pruned(np.roll(TRAIN[1], 1)).get_weights()
        assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))

    def test_a_model_that_has_learnt_nothing_teaches_nothing(self, capsys):
        model = nets.compiled(nets.residual())
        result = kt.fit_with_pruning(
            model, *nets.images(32, classes=3), target=kt.Target(macs=0.7), epochs=1, recipe=self.PLAIN, verbose=2
        )
        assert result.report.settings["learns"] == "the labels"
        assert "has nothing to teach" in capsys.readouterr().out

    @pytest.mark.parametrize(
        ("distill", "repair", "kept"),
        [(kt.Distill(0), "bias", True), (kt.Distill(1), "bias", True), (kt.Distill(0), None, False), (None, "bias", False)],
    )
    def test_batch_normalization_keeps_the_statistics_that_a_repaired_model_has(self, distill, repair, kept):
        model, (x, y) = nets.compiled(nets.residual()), nets.images(32, classes=3)
        recipe = replace(self.PLAIN, criterion="l1", distill=distill, repair=repair)
        result = kt.fit_with_pruning(model, x, y, target=kt.Target(macs=0.7), epochs=1, recipe=recipe, verbose=0)
        for layer in result.model.layers:
            if isinstance(layer, layers.BatchNormalization):
                before = model.get_layer(layer.name).moving_variance.numpy()
                assert np.isin(layer.moving_variance.numpy(), before).all() == kept, layer.name

    def test_a_callback_that_raises_leaves_nothing_patched(self, trained_model):
        seen = []

        class Stop(keras.callbacks.Callback):
            def on_train_batch_end(self, batch, logs=None):
                seen.append(self.model)
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            kt.fit_with_pruning(
                trained_model, *SMALL, target=kt.Target(macs=0.5), epochs=1, recipe=self.PLAIN, callbacks=[Stop()], verbose=0
            )
        assert "call" not in vars(seen[0]) and "compute_loss" not in vars(seen[0])

    def test_the_loss_that_is_logged_is_what_is_minimised(self, trained_model):
        def logged(distill):
            recipe, still = replace(self.PLAIN, distill=distill), keras.optimizers.SGD(0.0)
            result = kt.fit_with_pruning(
                trained_model, *SMALL, target=kt.Target(macs=0.5), epochs=1, optimizer=still, recipe=recipe, verbose=0
            )
            return result.history.history["loss"][0]

        labels, distance, both = (logged(how) for how in (None, kt.Distill(0, None), kt.Distill(0.5, None)))
        assert both == pytest.approx(distance + 0.5 * labels, rel=1e-4)

    @pytest.mark.parametrize("options", [{"labels": -1}, {"labels": "none"}, {"labels": True}, {"augment": "flip"}])
    def test_options_that_mean_nothing(self, options):
        with pytest.raises(kt.errors.BadInput, match="Distill"):
            kt.Distill(**options)
        with pytest.raises(kt.errors.BadInput, match=r"must be a kt\.Distill"):
            kt.Recipe(distill=1.0)

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"augment": lambda x: x[:, 1:]}, "augment must keep shape and dtype"),
            ({"augment": lambda x: np.flip(x.numpy())}, "augment must be a function of TensorFlow operations"),
            ({"weights": {"nowhere": 2.0}}, "layer of weights"),
            ({"weights": {"logits": -1.0}}, "weights must be numbers from 0 on"),
        ],
    )
    def test_options_that_do_not_fit_are_refused_before_any_work(self, trained_model, tmp_path, options, message):
        recipe = replace(self.PLAIN, distill=kt.Distill(**options))
        with pytest.raises(kt.errors.KerasTaylorError, match=message):
            kt.fit_with_pruning(
                trained_model, *SMALL, target=kt.Target(macs=0.5), recipe=recipe, run_dir=tmp_path / "run", verbose=0
            )
        assert not (tmp_path / "run").exists()

    def test_losses_of_outputs_are_logged_where_labels_are_left_out(self):
        inputs = keras.Input((8, 8, 1))
        x = layers.GlobalAveragePooling2D()(layers.Conv2D(6, 3, activation="relu")(inputs))
        model = keras.Model(inputs, {name: layers.Dense(2, name=name)(x) for name in ("a", "b")})
        model.compile("sgd", dict.fromkeys("ab", keras.losses.SparseCategoricalCrossentropy(from_logits=True)))
        data = SMALL[0], dict.fromkeys("ab", SMALL[1] % 2)
        recipe = replace(self.PLAIN, criterion="l1", distill=kt.Distill(labels=0))
        result = kt.fit_with_pruning(model, *data, target=kt.Target(macs=0.6), epochs=1, recipe=recipe, verbose=0)
        assert result.history.history["a_loss"][0] > 0 < result.history.history["b_loss"][0]

    def test_a_repair_that_was_asked_for_is_made(self, trained_model):
        recipe = replace(self.PLAIN, repair=kt.repairs.Auto(seconds=60), distill=kt.Distill(labels=0))
        data = (np.tile(TRAIN[0], (2, 1, 1, 1))[:700], np.tile(TRAIN[1], 2)[:700])
        result = kt.fit_with_pruning(trained_model, *data, target=kt.Target(macs=0.5), epochs=1, recipe=recipe, verbose=0)
        assert any("tune" in attempt.methods for attempt in result.repair.attempts)
        quick = replace(recipe, repair="auto")
        result = kt.fit_with_pruning(trained_model, *data, target=kt.Target(macs=0.5), epochs=1, recipe=quick, verbose=0)
        assert not any("tune" in attempt.methods for attempt in result.repair.attempts)

    def test_nothing_is_said_of_training_where_there_is_none(self, trained_model):
        result = kt.fit_with_pruning(trained_model, *SMALL, target=kt.Target(macs=0.5), epochs=0, recipe=self.PLAIN, verbose=0)
        assert not {"learns", "distilled"} & set(result.report.settings)

    def test_an_augmentation_of_ones_own_is_what_training_sees(self, trained_model):
        recipe = replace(self.PLAIN, distill=kt.Distill(0, augment=lambda x: 0 * x))
        seen = []
        for x in (SMALL[0], SMALL[0][::-1]):
            keras.utils.set_random_seed(0)
            result = kt.fit_with_pruning(
                trained_model, x, SMALL[1], target=kt.Target(macs=0.5), epochs=1, recipe=replace(recipe, criterion="l1"),
                verbose=0,
            )  # fmt: skip
            seen.append(result.history.history["loss"][0])
        assert seen[0] == seen[1]

    def test_the_best_weights_stay_and_it_is_said(self, trained_model):
        wild = keras.optimizers.SGD(5.0)
        result = kt.fit_with_pruning(
            trained_model, *SMALL, target=kt.Target(macs=0.8), epochs=2, optimizer=wild, validation_data=VALIDATION,
            recipe=self.PLAIN, verbose=0,
        )  # fmt: skip
        assert result.report.settings["kept"] == "the start by val_accuracy"
        assert result.report["final"].metrics == pytest.approx(result.report["pruned 1"].metrics)
        result = kt.fit_with_pruning(
            trained_model, *SMALL, target=kt.Target(macs=0.8), epochs=1, optimizer=wild, validation_data=VALIDATION,
            recipe=replace(self.PLAIN, keep_best=False), verbose=0,
        )  # fmt: skip
        assert "kept" not in result.report.settings
        assert result.report["final"].metrics["accuracy"] < result.report["pruned 1"].metrics["accuracy"]

    def test_the_papers_recipe(self):
        assert recipe_for("paper") == kt.Recipe(
            criterion="taylor", rank="score", repair=None, distill=None, gentle=False, keep_best=False
        )
