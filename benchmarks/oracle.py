"""What the oracle costs: `kt.oracle` against one full forward pass per channel, in turns in one process.

The full pass is compiled once, takes the mask as an argument, and sees the same images in batches of the same size; all of them
cost the same, so a sample of channels is timed and scaled up. Both must find the same change of the loss for the sample.

    python benchmarks/oracle.py --weights resnet20.keras --data cifar10_lossless.npz
    python benchmarks/oracle.py --net vgg --count 128
"""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import keras
import numpy as np
import typer
from _common import RESULTS, images, interleaved, loss_for, normalise, setup, store, stored, table, write
from vgg import vgg

import keras_taylor as kt
from keras_taylor.studies._masked import Masked

WANTED = 5.0


class Net(str, Enum):
    """What is measured without weights."""

    mobilenet = "mobilenet"
    vgg = "vgg"


def untrained(net: Net) -> Any:
    """A random network that puts out ten logits: MobileNet, or a narrow VGG-16."""
    if net is Net.mobilenet:
        options = {"weights": None, "input_shape": (64, 64, 3), "classes": 10, "classifier_activation": None}
        model = keras.applications.MobileNet(alpha=0.25, **options)
    else:
        model = vgg(0.25, 10)
    kt.testing.randomize(model)
    return model


def main(
    weights: Annotated[Path | None, typer.Option(help="A .keras classifier; without, an untrained network.")] = None,
    net: Annotated[Net, typer.Option(help="Which untrained network.")] = Net.mobilenet,
    data: Annotated[Path | None, typer.Option(help="An .npz file with x_train, y_train; without, noise.")] = None,
    name: Annotated[str, typer.Option(help="What the results call the network and the images.")] = "",
    count: Annotated[int, typer.Option(help="Images.")] = 256,
    batch: int = 128,
    sample: Annotated[int, typer.Option(help="Channels whose full passes are timed.")] = 16,
    repetitions: int = 3,
    results: Annotated[Path, typer.Option(help="JSON file that rows are added to; a .md file beside it.")] = RESULTS
    / "oracle.json",
) -> None:
    """Time both, and compare what they find."""
    environment, rng = setup(0), np.random.default_rng(0)
    model = untrained(net) if weights is None else keras.models.load_model(weights, compile=False)
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
    masked, found = Masked(graph), {}

    def mean_loss(keep: Any) -> float:
        return masked.evaluate(x, y, keep, batch)[0]

    def slow() -> None:
        everything = np.ones(graph.channels, bool)
        plain = mean_loss(everything)
        for channel in chosen:
            keep = everything.copy()
            keep[channel] = False
            found[int(channel)] = mean_loss(keep) - plain

    def fast() -> None:
        found["oracle"] = kt.oracle(graph, x, y, batch_size=batch, verbose=0)

    interleaved(1, slow)
    seconds = np.array(interleaved(repetitions, slow, fast))
    full = seconds[0] * len(free) / (len(chosen) + 1)
    ratios = full / seconds[1]
    signed = found["oracle"].values[chosen]
    off = np.abs(signed - [found[int(channel)] for channel in chosen]).max()
    print(f"largest difference {off:.1e}, of changes up to {np.abs(signed).max():.1e}")
    met = float(np.median(ratios)) >= WANTED and off <= 1e-5 + 1e-3 * np.abs(signed).max()
    row = {
        "network": name or model.name,
        "channels": len(free),
        "images": f"{count}, {'noise' if data is None else data.stem}",
        "runs": repetitions,
        "one full pass per channel (s)": f"{np.median(full):.1f}",
        "kt.oracle (s)": f"{np.median(seconds[1]):.1f}",
        "ratio": f"{np.median(ratios):.1f}",
        "range": f"{ratios.min():.1f} to {ratios.max():.1f}",
        "largest difference": f"{off:.0e}",
        f"at least {WANTED:.0f} times, same result": "yes" if met else "NO",
    }
    print(" | ".join(str(cell) for cell in row.values()))
    record = stored(results)
    record["rows"] = [one for one in record["rows"] if one["network"] != row["network"]] + [row]
    store(results, record)
    write(
        results.with_suffix(".md"),
        "# The oracle",
        f"`kt.oracle`, its compilation included, against compiled full passes of {len(chosen)} random channels, scaled up to "
        f"all that may go; in turns, medians of the runs; batches of {batch}.",
        table(list(row), [list(one.values()) for one in record["rows"]]),
        f"Made by `python benchmarks/oracle.py`. {environment}.",
    )
    raise typer.Exit(int(not met))


if __name__ == "__main__":
    typer.run(main)
