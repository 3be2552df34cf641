"""Train a VGG-16 of a quarter of the width on CIFAR-10: the plain chain of convolutions that the studies look at.

    python -m benchmarks.nets.vgg --data cifar10.npz --out vgg.keras

`--data` holds uint8 images of 32 x 32 pixels: x_train, y_train, x_test, y_test. The 13 convolutions of VGG-16 (configuration D
of Simonyan and Zisserman 2015), each with BatchNormalization and ReLU, then one Dense layer of logits. The last epoch's weights
are kept: the test images choose nothing.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import keras
import numpy as np
import typer

from benchmarks.runner import accuracy
from keras_taylor._cli.sources.images import SCALED
from keras_taylor.studies._batches import augmented
from keras_taylor.studies._vgg16 import convolutions


def vgg(width: float, classes: int) -> keras.Model:
    """The net, with its filters times `width`."""
    x = inputs = keras.Input((32, 32, 3))
    x = convolutions(x, width, batch_norm=True, initializer="glorot_uniform")
    x = keras.layers.Dense(classes, name="logits")(keras.layers.Flatten()(x))
    return keras.Model(inputs, x, name="vgg16")


def main(
    data: Annotated[Path, typer.Option(help="An .npz file with x_train, y_train, x_test, y_test.")],
    out: Annotated[Path, typer.Option(help="The .keras file to write.")],
    width: Annotated[float, typer.Option(help="Share of VGG-16's filters.")] = 0.25,
    epochs: int = 12,
    seed: int = 0,
) -> None:
    """Train with SGD, momentum and one cycle of the learning rate."""
    keras.utils.set_random_seed(seed)
    arrays, rng = dict(np.load(data)), np.random.default_rng(seed)
    x, x_test = (SCALED["torch"](arrays[name].astype("float32")) for name in ("x_train", "x_test"))
    model = vgg(width, int(arrays["y_train"].max()) + 1)
    steps = epochs * -(-len(x) // 128)
    rate = keras.optimizers.schedules.CosineDecay(1e-3, steps, warmup_target=0.1, warmup_steps=steps // 5)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    optimizer = keras.optimizers.SGD(rate, momentum=0.9, nesterov=True, weight_decay=5e-4)
    model.compile(optimizer, loss, metrics=["accuracy"], jit_compile=False)
    for epoch in range(epochs):
        model.fit(augmented(x, rng, 4), arrays["y_train"], 128, initial_epoch=epoch, epochs=epoch + 1, verbose=2)
    print(f"accuracy on {len(x_test):,} test images: {accuracy(model, x_test, arrays['y_test']):.4f}")
    model.save(out)


if __name__ == "__main__":
    typer.run(main)
