"""What the oracle costs: `kt.oracle` against one full forward pass per channel, in turns in one process.

The full pass is compiled once, takes the mask as an argument, and sees the same images in batches of the same size; all of them
cost the same, so a sample of channels is timed and scaled up. Both must find the same change of the loss for the sample.

    python benchmarks/oracle.py --weights resnet20.keras --data cifar10_lossless.npz
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import keras
import numpy as np
import tensorflow as tf
import typer
from _common import RESULTS, images, interleaved, loss_for, normalise, setup, table, write

import keras_taylor as kt
from keras_taylor._flatten import infer
from keras_taylor._loss import loss_of_each
from keras_taylor._sites import Sites

WANTED = 5.0


def full_pass(model: Any, graph: kt.ChannelGraph) -> Callable[[Any, Any, Any], Any]:
    """`run(x, y, keep)`: the loss of each example with the channels that `keep` drops silenced; compiled once."""
    sites, each = Sites(graph), loss_of_each(model)

    def run(x: Any, y: Any, keep: Any) -> Any:
        def call(step: Any, args: Any, kwargs: Any) -> Any:
            site = sites.by_call.get(id(step))
            if site is not None:
                shape = [1] * len(args[0].shape)
                shape[site.axis] = -1
                kept = tf.reshape(tf.gather(keep, site.channels), shape)
                args = (tf.where(kept, args[0], tf.zeros((), args[0].dtype)), *args[1:])
            return infer(step, args, kwargs)

        return each(x, y, graph.program.run([x], call)[0], None)

    return tf.function(run, reduce_retracing=True)


def main(
    weights: Annotated[Path | None, typer.Option(help="A .keras classifier; without, an untrained MobileNet.")] = None,
    data: Annotated[Path | None, typer.Option(help="An .npz file with x_train, y_train; without, noise.")] = None,
    name: Annotated[str, typer.Option(help="What the results call the network and the images.")] = "",
    count: Annotated[int, typer.Option(help="Images.")] = 256,
    batch: int = 128,
    sample: Annotated[int, typer.Option(help="Channels whose full passes are timed.")] = 16,
    repetitions: int = 3,
    output: Annotated[Path, typer.Option(help="Markdown file for the table.")] = RESULTS / "oracle.md",
) -> None:
    """Time both, and compare what they find."""
    environment, rng = setup(0), np.random.default_rng(0)
    if weights is None:
        options = {"weights": None, "input_shape": (64, 64, 3), "classes": 10, "classifier_activation": None}
        model = keras.applications.MobileNet(alpha=0.25, **options)
        kt.testing.randomize(model)
    else:
        model = keras.models.load_model(weights, compile=False)
    if data is None:
        x, y = rng.normal(size=(count, *model.input_shape[1:])).astype("float32"), rng.integers(0, 10, count)
    else:
        arrays = images(data)
        few = rng.permutation(len(arrays["x_train"]))[:count]
        x, y = normalise(arrays["x_train"][few]), np.ravel(arrays["y_train"][few])
    model.compile(loss=loss_for(model, x))
    graph = kt.trace(model)
    free = np.flatnonzero(graph.locks == "")
    chosen = rng.choice(free, min(sample, len(free)), replace=False)
    forward, found = full_pass(model, graph), {}
    parts = [(tf.constant(x[i : i + batch]), tf.constant(y[i : i + batch])) for i in range(0, count, batch)]

    def mean_loss(keep: Any) -> float:
        return float(np.concatenate([forward(*part, tf.constant(keep)).numpy().astype(float) for part in parts]).mean())

    def slow() -> None:
        everything = np.ones(graph.channels, bool)
        plain = mean_loss(everything)
        for channel in chosen:
            keep = everything.copy()
            keep[channel] = False
            found[int(channel)] = mean_loss(keep) - plain

    def fast() -> None:
        found["oracle"] = kt.oracle(model, (x, y), batch_size=batch)

    interleaved(1, slow)
    seconds = np.array(interleaved(repetitions, slow, fast))
    full = seconds[0] * len(free) / (len(chosen) + 1)
    ratios = full / seconds[1]
    signed = found["oracle"].signed.values[chosen]
    off = np.abs(signed - [found[int(channel)] for channel in chosen]).max()
    print(f"largest difference {off:.1e}, of changes up to {np.abs(signed).max():.1e}")
    met = float(np.median(ratios)) >= WANTED and off <= 1e-5 + 1e-3 * np.abs(signed).max()
    row = [name or model.name, len(free), count, f"{np.median(full):.0f}", f"{np.median(seconds[1]):.1f}"]
    row += [f"{np.median(ratios):.1f}", f"{ratios.min():.1f} to {ratios.max():.1f}", f"{off:.0e}", "yes" if met else "NO"]
    header = ["network, images", "channels", "images", "one full pass per channel (s)", "kt.oracle (s)", "ratio", "range"]
    header += ["largest difference", f"at least {WANTED:.0f} times, same result"]
    print(" | ".join(str(cell) for cell in row))
    write(
        output,
        "# The oracle",
        f"`kt.oracle`, its compilation included, against compiled full passes of {len(chosen)} random channels, scaled up to "
        f"all that may go; in turns, {repetitions} times; batches of {batch}.",
        table(header, [row]),
        f"Made by `python benchmarks/oracle.py`. {environment}.",
    )
    raise typer.Exit(int(not met))


if __name__ == "__main__":
    typer.run(main)
