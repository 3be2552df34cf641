"""The same pruned network, repaired or not, while it is fine-tuned."""

from __future__ import annotations

import keras

import keras_taylor as kt
from benchmarks.fine_tune import augmented
from benchmarks.runner import Row, accuracy, benchmark, grouped, mean_and_deviation, net_named, table

STARTS = ("repaired", "not repaired")


def page(rows: list[Row]) -> list[str]:
    """One table for each net."""
    parts = []
    for net, mine in grouped(rows, "net"):
        seeds = {row["seed"] for row in mine}
        parts.append(
            f"{net_named(net).title}: accuracy on {mine[0]['test_images']:,} test images after so many epochs over "
            f"{mine[0]['train_images']:,} labelled images, mean and standard deviation over {len(seeds)} seeds. SGD, momentum "
            f"0.9, learning rate {mine[0]['rate']:g} with cosine decay, batch {mine[0]['batch']}, flips and shifts."
        )
        epochs = list(mine[0]["accuracy"])
        lines = []
        for share in sorted({row["share"] for row in mine}, reverse=True):
            for start in STARTS:
                found = [row["accuracy"] for row in mine if (row["share"], row["start"]) == (share, start)]
                cells = [mean_and_deviation([one[epoch] for one in found]) for epoch in epochs]
                lines.append([f"{100 * share:.0f} %", start, *cells])
        parts.append(table(["MACs", "start", *(f"{epoch} epochs" for epoch in epochs)], lines))
    return parts


@benchmark(
    "start",
    cells={
        "net": ("resnet20",),
        "seed": (0, 1, 2),
        "share": (0.5, 0.3),
        "start": STARTS,
        "images": (2048,),
        "epochs": (10,),
        "rate": (0.01,),
        "batch": (128,),
    },
    page=page,
)
def start(net: str, seed: int, share: float, start: str, images: int, epochs: int, rate: float, batch: int) -> Row:
    """Does a repaired start pay after fine-tuning?

    The plan and the repair use 2,048 training images without their labels. Both starts then have the same recipe, order of
    images and augmentation.
    """
    chosen = net_named(net)
    model, test = chosen.model(), chosen.test()
    few, _ = chosen.train(images, seed)
    repair = "lstsq" if start == "repaired" else None
    small = kt.prune(
        model, few, target=kt.Target(macs=share), recipe=kt.Recipe(repair=repair), batch_size=64, seed=seed, verbose=0
    ).model
    data = augmented(chosen, batch, seed)
    schedule = keras.optimizers.schedules.CosineDecay(rate, epochs * len(data))
    small.compile(keras.optimizers.SGD(schedule, momentum=0.9, nesterov=True, weight_decay=1e-4), model.loss)
    found = {"0": accuracy(small, *test)}
    for epoch in range(epochs):
        small.fit(data, initial_epoch=epoch, epochs=epoch + 1, verbose=0)
        if epoch + 1 in (1, 3, epochs):
            found[str(epoch + 1)] = accuracy(small, *test)
    return {"accuracy": found, "train_images": len(chosen.raw("train")[0]), "test_images": len(test[0])}
