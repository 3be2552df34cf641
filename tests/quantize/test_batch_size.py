"""The batch size of a file: chosen, that of the model, or open."""

import warnings

import keras
import numpy as np
import pytest

import keras_taylor as kt
from tests import nets
from tests.litert.files import operations

layers = keras.layers
CHAINS = {"SHAPE", "STRIDED_SLICE", "PACK"}
SERIES = np.random.default_rng(0).normal(size=(34, 6, 5)).astype("float32")


def shaping():
    return [keras.Input((4, 4, 3)), layers.Reshape((8, 6)), layers.Flatten(), layers.Dense(3)]


def transposed():
    return [keras.Input((4, 4, 3)), layers.Conv2DTranspose(4, 3, strides=2, padding="same"), layers.Conv2D(3, 8)]


def upward():
    return [keras.Input((4, 4, 3)), layers.Reshape((2, 2, 12)), layers.Conv2DTranspose(4, 2), layers.Permute((2, 1, 3))]


def sequential(parts):
    return nets.randomized(keras.Sequential(parts()))


@pytest.mark.parametrize("parts", [shaping, transposed, upward])
@pytest.mark.parametrize("kind", ["float32", "int8"])
def test_no_operation_looks_for_the_batch_size(parts, kind):
    model, (x, _) = sequential(parts), nets.images(8, shape=(4, 4, 3))
    quantizer = kt.Int8PTQ(x) if kind == "int8" else None
    assert CHAINS <= set(operations(kt.quantize(model, quantizer).content))
    made = kt.quantize(model, quantizer, batch_size=1)
    assert made.batch_size == 1 and not CHAINS & set(operations(made.content))
    expected, (found,) = nets.outputs(model, x)[0], made.lite()([x])
    assert np.abs(found - expected).max() <= made.quantizer.tolerance * np.abs(expected).max()


RECURRENT = {
    "LSTM": lambda: layers.LSTM(6),
    "GRU": lambda: layers.GRU(6, return_sequences=True),
    "both ways": lambda: layers.Bidirectional(layers.LSTM(3)),
}


@pytest.mark.parametrize("kind", RECURRENT)
def test_recurrent_layers_convert_exactly(kind):
    model = nets.randomized(keras.Sequential([keras.Input((6, 5)), RECURRENT[kind](), layers.Dense(3)]))
    with pytest.raises(kt.errors.ConversionError, match=r"Recurrent layers convert.*batch_size=1"):
        kt.quantize(model)
    (found,) = kt.quantize(model, batch_size=1).lite()([SERIES])
    np.testing.assert_allclose(found, nets.outputs(model, SERIES)[0], rtol=1e-4, atol=1e-5)


def test_a_loop_that_is_to_be_calibrated_does_not_end_the_process():
    parts = [keras.Input((6, 5)), layers.LSTM(6, name="memory"), layers.Dense(3)]
    with pytest.raises(kt.errors.ConversionError, match=r"no loops.*'memory'.*unroll=True"):
        kt.quantize(keras.Sequential(parts), kt.Int8PTQ(SERIES), batch_size=1)
    unrolled = nets.randomized(keras.Sequential([keras.Input((6, 5)), layers.LSTM(6, unroll=True), layers.Dense(3)]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = kt.quantize(unrolled, kt.Int8PTQ(SERIES), batch_size=1)
    # The first step does not read its forget gate. Whether the converter splits floats there differs from run to run.
    assert set(made.float_operations) <= {"SPLIT"}


@pytest.mark.parametrize("kind", ["float32", "dynamic", "ptq", "qat"])
def test_a_model_keeps_its_own_batch_size(kind, tmp_path):
    inputs = keras.Input((4, 4, 3), batch_size=3)
    model = nets.randomized(keras.Model(inputs, layers.Dense(2)(layers.Flatten()(layers.Conv2D(4, 3)(inputs)))))
    (x, _), y = nets.images(16, shape=(4, 4, 3)), np.arange(16) % 2
    quantizer = {"ptq": kt.Int8PTQ(x), "qat": kt.Int8QAT((x[:15], y[:15]), epochs=0, batch_size=3, loss="mse")}.get(kind, kind)
    made = kt.export_tflite(model, tmp_path / "model.tflite", quantizer=quantizer, verbose=0)
    assert made.batch_size == 3 == made.note["batch_size"] and not CHAINS & set(operations(made.content))
    assert "batch size" in str(made)
    # Seven examples are two batches, and one that is filled up.
    expected = np.argmax(made.lite()([x[:7]])[0], -1)
    assert kt.measure(tmp_path / "model.tflite", x[:7], expected, batch_size=5, runs=1, verbose=0).value == 1.0
    one = kt.quantize(model, quantizer, batch_size=1, verbose=0)
    np.testing.assert_array_equal(np.argmax(one.lite()([x[:7]])[0], -1), expected)


def test_several_inputs_are_filled_up_alike():
    a, b = keras.Input((4,), name="b"), keras.Input((6,), name="a")
    model = nets.randomized(keras.Model([a, b], layers.Dense(2)(layers.Concatenate()([layers.Dense(3)(a), b]))))
    x = [np.random.default_rng(i).normal(size=(10, n)).astype("float32") for i, n in enumerate((4, 6))]
    made = kt.quantize(model, kt.Int8PTQ((tuple(x),)), batch_size=4)
    np.testing.assert_allclose(made.lite()(x)[0], nets.outputs(model, x)[0], atol=0.2)
    assert len(made.lite()([one[:1] for one in x])[0]) == 1


def test_what_cannot_be():
    model = sequential(shaping)
    with pytest.raises(kt.errors.BadInput, match=r"batch_size must be a whole number.*Received: 0"):
        kt.quantize(model, batch_size=0)
    with pytest.raises(kt.errors.BadInput, match="batch_size must be left out"):
        kt.export_tflite(kt.quantize(model), "unwritten.tflite", batch_size=1)
    inputs = keras.Input((4,), batch_size=3)
    fixed = keras.Model(inputs, layers.Dense(2)(keras.ops.add(inputs, np.ones((3, 4), "float32"))))
    assert kt.quantize(fixed).batch_size == 3
    with pytest.raises(kt.errors.BadInput, match=r"batch_size must be one that the model can take. Received: 2.*or pass 3"):
        kt.quantize(fixed, batch_size=2)
