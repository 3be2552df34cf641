"""A net with what TFMOT refuses, for the tests of several precisions."""

import keras

from tests import nets

layers = keras.layers


def varied():
    """What TFMOT refuses, in one net: Rescaling, Normalization, BatchNormalization by itself, squeeze-excite, hard-swish."""
    x = inputs = keras.Input((8, 8, 3), name="image")
    x = layers.Rescaling(0.5, 0.1, name="rescaling")(x)
    x = layers.Normalization(mean=[0.1, 0.0, -0.1], variance=[1.0, 0.8, 1.2], name="normalization")(x)
    x = layers.Conv2D(8, 3, padding="same", name="conv")(x)
    x = shortcut = layers.ReLU(6.0, name="relu6")(layers.BatchNormalization(name="conv_bn")(x))
    x = layers.SeparableConv2D(8, 3, padding="same", activation="hard_silu", name="separable")(x)
    squeezed = layers.GlobalAveragePooling2D(keepdims=True, name="squeeze")(x)
    x = layers.Multiply(name="excite")([x, layers.Conv2D(8, 1, activation="sigmoid", name="gate")(squeezed)])
    x = layers.BatchNormalization(name="alone")(layers.Add(name="add")([x, shortcut]))
    x = layers.AveragePooling2D(2, name="average")(layers.Activation("relu", name="relu")(x))
    x = layers.Dropout(0.1, name="dropout")(layers.Flatten(name="flatten")(x))
    return nets.randomized(keras.Model(inputs, layers.Dense(3, name="logits")(x), name="varied"))
