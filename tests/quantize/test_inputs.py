"""Advice about inputs fits its cause: columns that one scale takes away, and inputs of another range than those of training."""

import re
import warnings

import keras
import numpy as np
import pytest

import keras_taylor as kt
from tests import nets

layers = keras.layers
RNG = np.random.default_rng(0)
COLUMNS = RNG.random((128, 4)).astype("float32") * np.float32([1, 1e6, 1, 1e6])


def table(normalised=True):
    """A net of columns that differ by a factor of a million, which it normalises itself."""
    inputs = x = keras.Input((4,), name="table")
    if normalised:
        x = layers.Normalization(mean=COLUMNS.mean(0), variance=COLUMNS.var(0))(x)
    return nets.randomized(keras.Model(inputs, layers.Dense(2)(layers.Dense(8, activation="relu")(x)), name="net"))


def series():
    inputs = keras.Input((6, 4), name="table")
    x = layers.Conv1D(4, 3)(layers.Normalization(mean=COLUMNS.mean(0), variance=COLUMNS.var(0))(inputs))
    return nets.randomized(keras.Model(inputs, layers.Dense(2)(layers.Flatten()(x)), name="net"))


INSTANCES = {
    "table": (table, kt.Int8PTQ, COLUMNS),
    "series": (series, kt.Int8PTQ, COLUMNS[:120].reshape(-1, 6, 4).repeat(2, 0) * RNG.random((40, 1, 1)).astype("float32")),
    "integers": (lambda: table(False), lambda x: kt.Int8PTQ(x, io="int8"), COLUMNS),
    "16 bits": (lambda: table(False), kt.quantizers.Int16x8PTQ, COLUMNS * np.float32([1, 1, 1, 1e3])),
}
NAMED = r"columns 0, (2|1, 2) vary by less .*Normalise the inputs outside the file"


@pytest.mark.parametrize("kind", INSTANCES)
def test_columns_below_one_step_are_named(kind):
    """As the cause of what else is wrong with the file, or by itself."""
    make, quantizer, x = INSTANCES[kind]
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            kt.quantize(make(), quantizer(x))
        except kt.errors.ExportMismatch as error:
            said = [error]
    (text,) = (str(getattr(one, "message", one)) for one in said)
    assert re.search(NAMED, text) and "QAT" not in text and "train" not in text


def test_columns_of_one_size_are_no_trouble():
    x = np.concatenate([COLUMNS[:, :1], COLUMNS[:, 2:3], np.full((128, 1), 3.0), COLUMNS[:, :1] > 0.5], 1).astype("float32")
    kt.quantize(table(False), kt.Int8PTQ(x))
    kt.quantize(table())  # float inputs have no steps


IMAGES = RNG.random((128, 8, 8, 3)).astype("float32")
LABELS = np.arange(128) % 3
NOTICED = "inputs look different from those of training"


def net(batchnorm, momentum=0.99):
    parts = [keras.Input((8, 8, 3)), layers.Conv2D(8, 3)]
    parts += [layers.BatchNormalization(momentum=momentum)] if batchnorm else []
    model = keras.Sequential([*parts, layers.ReLU(), layers.GlobalAveragePooling2D(), layers.Dense(3)])
    model.compile(keras.optimizers.Adam(1e-3), nets.CROSS_ENTROPY)
    return model


@pytest.mark.parametrize("scale", [1, 255])
@pytest.mark.parametrize("steps", [1, 4, 30])
@pytest.mark.parametrize("momentum", [0.9, 0.99])
def test_brief_training_is_no_other_range(scale, steps, momentum):
    keras.utils.set_random_seed(steps)
    model, x = net(True, momentum), scale * IMAGES
    model.fit(x, LABELS, batch_size=32, steps_per_epoch=4, epochs=1, verbose=0) if steps > 3 else model.train_on_batch(
        x, LABELS
    )
    for _ in range(max(steps - 4, 0)):
        model.train_on_batch(x, LABELS)
    kt.quantize(model, kt.Int8PTQ(x))


def test_bytes_are_noticed_by_settled_statistics():
    model = net(True, 0.5)
    model.fit(IMAGES, LABELS, epochs=4, verbose=0)
    with pytest.warns(UserWarning, match=NOTICED):
        kt.quantize(model, kt.Int8PTQ(255 * IMAGES))


class TestKnownTraining:
    """Without a BatchNormalization, the data that a model was pruned, or trained, with are what tells."""

    def pruned(self, how):
        recipe, target = kt.Recipe(criterion="magnitude", repair=None), kt.Target(macs=0.6)
        if how == "prune":
            return kt.prune(net(False), IMAGES, target=target, recipe=recipe, verbose=0).model
        return kt.fit_with_pruning(net(False), IMAGES, LABELS, target=target, recipe=recipe, epochs=1, verbose=0).model

    @pytest.mark.parametrize("how", ["prune", "fit_with_pruning"])
    def test_bytes_are_noticed(self, how):
        small = self.pruned(how)
        kt.quantize(small, kt.Int8PTQ(IMAGES[:40]))
        with pytest.warns(UserWarning, match=rf"{NOTICED}: they are .* to 255 \(training: .* to 1\)"):
            kt.quantize(small, kt.Int8PTQ(255 * IMAGES))
        with pytest.warns(UserWarning, match=NOTICED):
            kt.quantize(kt.rebuild(small, kt.PruningPlan({})), kt.Int8PTQ(IMAGES / 255))

    def test_in_a_sweep_it_is_said_once(self, tmp_path):
        options = {"validation_data": (IMAGES, LABELS), "epochs": 0, "run_dir": tmp_path, "verbose": 0, "runs": 1}
        quantizers = [kt.Int8PTQ(255 * IMAGES), kt.quantizers.Int16x8PTQ(255 * IMAGES)]
        recipe = kt.Recipe(criterion="magnitude", repair=None)
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            kt.sweep(net(False), IMAGES, LABELS, targets=(1.0, 0.5), quantizers=quantizers, recipe=recipe, **options)
        assert len([one for one in said if NOTICED in str(one.message)]) == 1

    def test_each_call_says_it_anew(self):
        small = self.pruned("prune")
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            for _ in range(2):
                kt.quantize(small, kt.Int8PTQ(255 * IMAGES))
        assert len(said) == 2
