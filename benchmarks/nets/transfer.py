"""Fine-tune a pretrained classifier on other images: the networks that the other benchmarks prune.

    python -m benchmarks.nets.transfer --weights mobilenet_v1.keras --data flowers.npz --out flowers.keras

`--data` holds uint8 images: x_train, y_train, x_test, y_test. The head behind the last pooling is replaced by a new one; the
network takes the size of the images. The last epoch's weights are kept: the test images choose nothing.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import keras
import numpy as np
import typer

from benchmarks.runner import accuracy
from keras_taylor._cli.sources.images import SCALED


def body(model: keras.Model, shape: tuple[int, ...]) -> keras.Model:
    """The model up to its last pooling, for images of this shape."""
    pooling = [layer for layer in model.layers if isinstance(layer, keras.layers.GlobalAveragePooling2D)][-1]
    inputs = keras.Input(shape)
    return keras.models.clone_model(keras.Model(model.inputs, pooling.output), input_tensors=[inputs])


def unfold(model: keras.Model, x: Any) -> None:
    """Give every BatchNormalization the statistics of these images, and a scale and offset that leave its outputs as they are.

    Where they were folded into the kernels, training would otherwise begin by normalising away what the network has learnt.
    """
    norms = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    for norm, values in zip(
        norms, keras.Model(model.inputs, [norm.input for norm in norms]).predict(x, verbose=0), strict=True
    ):
        gamma, beta, mean, variance = (weight.numpy() for weight in norm.weights)
        axes = tuple(range(values.ndim - 1))
        scale = gamma / np.sqrt(variance + norm.epsilon)
        found = values.mean(axes), values.var(axes)
        norm.set_weights([scale * np.sqrt(found[1] + norm.epsilon), beta + scale * (found[0] - mean), *found])


def main(
    weights: Annotated[Path, typer.Option(help="A .keras file with a pretrained classifier: body, pooling, head.")],
    data: Annotated[Path, typer.Option(help="An .npz file with x_train, y_train, x_test, y_test.")],
    out: Annotated[Path, typer.Option(help="The .keras file to write.")],
    epochs: int = 12,
    seed: int = 0,
) -> None:
    """Train a new head and the whole network, images scaled to -1 to 1."""
    keras.utils.set_random_seed(seed)
    arrays = dict(np.load(data))
    x, x_test = (SCALED["tf"](arrays[name].astype("float32")) for name in ("x_train", "x_test"))
    pretrained = keras.models.load_model(weights, compile=False)
    features = body(pretrained, x.shape[1:])
    features.set_weights(pretrained.get_weights()[: len(features.weights)])
    unfold(features, x[:256])
    y = keras.layers.Flatten()(features.output)
    y = keras.layers.Dense(int(arrays["y_train"].max()) + 1, name="classes")(keras.layers.Dropout(0.2)(y))
    model = keras.Model(features.inputs, y, name=out.stem)
    steps = epochs * -(-len(x) // 32)
    rate = keras.optimizers.schedules.CosineDecay(1e-5, steps, warmup_target=5e-4, warmup_steps=steps // 10)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.AdamW(rate, weight_decay=1e-4), loss, metrics=["accuracy"])
    augment = keras.Sequential([keras.layers.RandomFlip("horizontal"), keras.layers.RandomTranslation(0.1, 0.1)])
    for epoch in range(epochs):
        model.fit(augment(x, training=True).numpy(), arrays["y_train"], 32, initial_epoch=epoch, epochs=epoch + 1, verbose=2)
    print(f"accuracy on {len(x_test):,} test images: {accuracy(model, x_test, arrays['y_test']):.4f}")
    model.save(out)


if __name__ == "__main__":
    typer.run(main)
