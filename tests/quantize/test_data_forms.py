"""Calibration and training data in every form that `fit` takes, and lists of batches; what cannot be read is said in short."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_taylor as kt
from keras_taylor._keras.batches import batches
from tests import nets

layers = keras.layers
RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(32, 8, 8, 3)).astype("float32"), np.arange(32) % 3
STARTS = range(0, 32, 8)
PAIRS = [(X[i : i + 8], Y[i : i + 8]) for i in STARTS]


class Batches(keras.utils.PyDataset):
    def __init__(self, count):
        super().__init__()
        self.count = count

    @property
    def num_batches(self):
        return self.count

    def __getitem__(self, index):
        return PAIRS[index % 4]


DATASET = tf.data.Dataset.from_tensor_slices((X, Y)).batch(8)
FORMS = {
    "arrays": lambda: (X, Y),
    "with weights": lambda: (X, Y, np.ones(32)),
    "by name": lambda: ({"image": X}, Y),
    "tf.data": lambda: DATASET,
    "PyDataset": lambda: Batches(4),
    "generator": lambda: (pair for pair in PAIRS),
    "list of pairs": lambda: list(PAIRS),
    "list of named pairs": lambda: [({"image": x}, y) for x, y in PAIRS],
}
INPUTS = {
    "an array": lambda: X,
    "inputs by name": lambda: {"image": X},
    "a list of batches": lambda: [X[i : i + 8] for i in STARTS],
    "a list of two batches": lambda: [X[:16], X[16:]],
    "a list of one-tuples": lambda: [(X[i : i + 8],) for i in STARTS],
    "a list of dicts": lambda: [{"image": X[i : i + 8]} for i in STARTS],
    "a generator of inputs": lambda: (X[i : i + 8] for i in STARTS),
    "an endless generator": lambda: itertools.cycle([X[:16], X[16:]]),
    "an endless PyDataset": lambda: Batches(None),
    "an endless tf.data": lambda: DATASET.repeat(),
}


@pytest.fixture(scope="module")
def model():
    x = inputs = keras.Input((8, 8, 3), name="image")
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3, activation="relu")(x))
    made = nets.randomized(keras.Model(inputs, layers.Dense(3)(x), name="net"))
    made.compile("sgd", nets.CROSS_ENTROPY)
    return made


@pytest.mark.parametrize("form", [*FORMS, *INPUTS])
def test_calibration(form, model):
    """The same ranges from all: 64 examples at most, of which 32 are distinct."""
    data = {**FORMS, **INPUTS}[form]()
    quantizer = kt.Int8PTQ(data, examples=64)
    made = kt.quantize(model, quantizer)
    np.testing.assert_allclose(made.lite().input_steps, kt.quantize(model, kt.Int8PTQ(X)).lite().input_steps, rtol=1e-5)
    assert kt.quantize(model, quantizer).size == made.size  # an iterator is read again


@pytest.mark.parametrize("form", ["generator", "list of pairs", "PyDataset", "by name"])
def test_quantization_aware_training(form, model):
    made = kt.quantize(model, kt.Int8QAT(FORMS[form](), epochs=2, steps_per_epoch=4, learning_rate=1e-5), verbose=0)
    expected = nets.outputs(model, X)[0]
    assert np.abs(made.lite()([X])[0] - expected).max() < 0.1 * np.abs(expected).max()


def test_a_list_of_batches_everywhere(model):
    recipe, target = kt.Recipe(criterion="taylor", repair=None), kt.Target(macs=0.6)
    assert np.allclose(kt.score(model, PAIRS, verbose=0).values, kt.score(model, X, Y, batch_size=8, verbose=0).values)
    options = {"target": target, "recipe": recipe, "validation_data": PAIRS, "verbose": 0}
    kt.prune(model, PAIRS, **options)
    kt.fit_with_pruning(model, PAIRS, epochs=1, **options)
    assert kt.measure(kt.quantize(model), PAIRS, runs=1, verbose=0).examples == 32
    assert kt.Int8PTQ(PAIRS) == kt.Int8PTQ([(x.copy(), y) for x, y in PAIRS]) != kt.Int8PTQ(PAIRS[:2])


def test_two_inputs_in_a_list():
    a, b = keras.Input((4, 4, 3)), keras.Input((4, 4, 3))
    net = nets.randomized(keras.Model([a, b], layers.Dense(2)(layers.Flatten()(a + 2.0 * b))))
    x = [X[:, :4, :4], X[:, 4:, 4:]]
    steps = kt.quantize(net, kt.Int8PTQ((tuple(x),))).lite().input_steps
    for data in (x, tuple(x), [((p, q), None) for p, q in zip(*(np.split(one, 4) for one in x), strict=True)]):
        assert kt.quantize(net, kt.Int8PTQ(data)).lite().input_steps == pytest.approx(steps)


def test_what_a_list_means():
    """With labels asked for, two arrays are x and y; tuples are batches."""
    assert [len(x) for x, _, _ in batches([X, Y])] == [32]
    assert [len(x) for x, _, _ in batches([X, X], labels=True)] == [32]
    assert [len(x) for x, _, _ in batches([X[:8], X[8:]], labels=False)] == [8, 24]
    assert [len(x) for x, _, _ in batches([Y[:, None], Y[:, None]], labels=False)] == [32]
    assert [len(x) for x, _, _ in batches(PAIRS)] == [8] * 4


HUGE = RNG.random((40, 5000)).tolist()
UNREADABLE = {
    "lists of numbers": HUGE,
    "a tuple of five arrays": tuple(np.ones((4, 3)) for _ in range(5)),
    "a batch of four arrays": iter([tuple(np.ones((4, 3)) for _ in range(4))]),
    "a generator of lists of numbers": iter([HUGE]),
    "a dict of lists": {"image": HUGE},
    "another name": {"picture": X},
    "two inputs": ((X, X), Y),
    "text": "x" * 100_000,
    "a number": 3,
    "scalars": (np.float32(1), np.float32(2)),
    "many shapes": iter([np.ones((1, 8, n, 3)) for n in range(1, 200)]),
}


@pytest.mark.parametrize("what", UNREADABLE)
def test_what_cannot_be_read_is_said_in_short(what, model):
    with pytest.raises(kt.errors.BadInput) as error:
        kt.quantize(model, kt.Int8PTQ(UNREADABLE[what]))
    text = str(error.value)
    assert "Received: " in text and len(text) < 1000 and text.count("\n") < 10
    assert error.value.__cause__ is None and "0." not in text.replace("0.0", "")


BIG = np.ones((300, 300))
MISTAKES = {
    "criterion": lambda model: kt.score(model, X, Y, criterion=HUGE),
    "recipe": lambda model: kt.prune(model, X, target=kt.Target(macs=0.5), recipe=HUGE),
    "target": lambda model: kt.prune(model, X, target=HUGE),
    "y": lambda model: kt.score(model, X, HUGE[0]),
    "quantizer": lambda model: kt.quantize(model, HUGE),
    "file": lambda model: kt.measure(HUGE),
    "plan": lambda model: kt.repair(model, HUGE, model, X),
    "examples": lambda model: kt.score(model, X, Y, examples=BIG),
    "schedule": lambda model: kt.Recipe(schedule=HUGE),
    "constraints": lambda model: kt.Recipe(constraints=HUGE),
    "metric": lambda model: kt.measure(kt.quantize(model), X, Y, metric=HUGE),
    "verbose": lambda model: kt.quantize(model, verbose=HUGE),
    "io": lambda model: kt.Int8PTQ(X, io=str(HUGE)),
}


@pytest.mark.parametrize("argument", MISTAKES)
def test_data_in_the_place_of_an_option(argument, model):
    with pytest.raises(kt.errors.KerasTaylorError) as error:
        MISTAKES[argument](model)
    assert len(str(error.value)) <= 2100 and str(error.value).count("\n") < 10


TARGET = kt.Target(macs=0.6)
ENDLESS = {
    "score": (lambda m, d: kt.score(m, d, verbose=0), r"Pass examples=1000"),
    "measure": (lambda m, d: kt.measure(kt.quantize(m), d, verbose=0), r"Pass examples=1000"),
    "prune": (
        lambda m, d: kt.prune(m, d, target=TARGET, recipe=kt.Recipe(examples=None), verbose=0),
        r"Pass recipe=kt.Recipe\(examples=1000\)",
    ),
    "fit_with_pruning": (lambda m, d: kt.fit_with_pruning(m, d, target=TARGET, epochs=1), r"Pass steps_per_epoch=100"),
    "validation": (
        lambda m, d: kt.fit_with_pruning(m, X, Y, target=TARGET, epochs=1, validation_data=d),
        r"Pass validation_steps=10",
    ),
    "Int8QAT": (lambda m, d: kt.quantize(m, kt.Int8QAT(d), verbose=0), r"Pass Int8QAT\(..., steps_per_epoch=100\)"),
    "sweep": (lambda m, d: kt.sweep(m, d, validation_data=(X, Y), run_dir="unwritten"), r"Pass steps_per_epoch=100"),
}


@pytest.mark.parametrize("endless", ["tf.data", "PyDataset"])
@pytest.mark.parametrize("call", ENDLESS)
def test_data_without_an_end_name_the_argument_of_the_call(call, endless, model):
    run, text = ENDLESS[call]
    with pytest.raises(kt.errors.BadInput, match=rf"Infinite data must go with .*{text}"):
        run(model, DATASET.repeat() if endless == "tf.data" else Batches(None))
