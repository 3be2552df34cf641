"""Whether a model minds that its inputs are moved."""

import keras
import numpy as np

import keras_taylor as kt
from keras_taylor._run.invariance import is_invariant

X = np.random.default_rng(0).random((64, 8, 8, 1)).astype("float32")


def invariant(model):
    return is_invariant(kt.trace(model), X, lambda batch: [batch[0][:, :, ::-1]], batch_size=16, seed=0)


def test_a_mean_over_positions_does_not_and_a_look_at_one_side_does():
    inputs = keras.Input((8, 8, 1))
    assert invariant(keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(inputs)))
    assert not invariant(keras.Model(inputs, keras.layers.Flatten()(keras.layers.Cropping2D(((0, 0), (0, 6)))(inputs))))
