"""A trained classifier pruned to half its MACs while it is fine-tuned: criteria against each other, and against no pruning."""

from __future__ import annotations

import time
from typing import Any

import keras
import numpy as np
import tensorflow as tf

import keras_taylor as kt
from benchmarks.runner import Net, Row, benchmark, grouped, net_named, table
from keras_taylor._cli.sources.images import SCALED

# name: (criterion, rank of kt.plan): the better one of each in one_shot.py
CRITERIA = {
    "taylor_gate": ("taylor_gate", "saving"),
    "taylor": ("taylor", "score"),
    "magnitude": ("magnitude", "score"),
    "random": ("random", "score"),
}
LABELS = {
    "unpruned": "none: unpruned, trained equally long",
    "taylor_gate": "`taylor_gate`, per MAC saved (default)",
    "taylor": "`taylor` (Eq. 8, l2), plain order",
    "magnitude": "`magnitude`, plain order",
    "random": "`random`, plain order",
}


def augmented(net: Net, batch_size: int, seed: int) -> tf.data.Dataset:
    """Training batches: shuffled, flipped at random, shifted by up to 4 pixels, scaled."""
    x, y = net.raw("train")

    def prepare(pair: Any, draw: Any) -> Any:
        image, label = pair
        height, width, depth = image.shape
        image = tf.image.stateless_random_crop(tf.pad(image, [[4, 4], [4, 4], [0, 0]]), [height, width, depth], draw)
        image = tf.image.stateless_random_flip_left_right(image, draw + 1)
        return SCALED[net.scaling](tf.cast(image, tf.float32)), label

    pairs = tf.data.Dataset.from_tensor_slices((x, y)).shuffle(len(x), seed)
    draws = tf.data.Dataset.random(seed, rerandomize_each_iteration=True).batch(2)
    data = tf.data.Dataset.zip(pairs, draws).map(prepare, tf.data.AUTOTUNE).batch(batch_size)
    return data.prefetch(tf.data.AUTOTUNE).apply(tf.data.experimental.assert_cardinality(-(-len(x) // batch_size)))


def page(rows: list[Row]) -> list[str]:
    """One table for each net and share of the MACs."""
    parts = []
    for (net, share), mine in grouped(rows, "net", "macs_kept"):
        epochs, train, test = (mine[0][name] for name in ("epochs", "train_images", "test_images"))
        parts.append(
            f"{net_named(net).title}, {100 * share:.0f} % of the MACs: {train:,} training and {test:,} test images (one "
            f"standard error of an accuracy near .91 is about {np.sqrt(0.08 / test):.3f}; the runs share the test images, so "
            f"differences between them are surer than that). {epochs} epochs in all, pruned at the start of the first "
            f"{max(min(5, epochs // 2), 1)} of them; SGD, Nesterov momentum 0.9, learning rate {mine[0]['rate']:g} with cosine "
            f"decay, weight decay {mine[0]['weight_decay']:g}, batch {mine[0]['batch']}, random flips and shifts by 4 pixels."
        )
        header = ["criterion", "MACs", "params", "runs", "mean accuracy", "sd", "range"]
        parts.append(
            table(
                header,
                [
                    _line(label, [r for r in mine if r["criterion"] == name])
                    for name, label in LABELS.items()
                    if any(r["criterion"] == name for r in mine)
                ],
            )
        )
    return parts


def _line(label: str, rows: list[Row]) -> list[Any]:
    found = np.array([row["accuracy"] for row in rows])
    return [
        label,
        f"{np.mean([row['macs'] for row in rows]) / 1e6:.2f} M",
        f"{np.mean([row['params'] for row in rows]) / 1e3:.0f} k",
        len(found),
        f"{found.mean():.4f}",
        f"{found.std(ddof=1):.4f}" if len(found) > 1 else "-",
        f"{found.min():.4f} to {found.max():.4f}",
    ]


@benchmark(
    "fine_tune",
    cells={
        "net": ("resnet20",),
        "seed": (0, 1, 2),
        "criterion": tuple(LABELS),
        "macs_kept": (0.5,),
        "epochs": (10,),
        "rate": (0.01,),
        "weight_decay": (1e-4,),
        "batch": (128,),
    },
    page=page,
)
def fine_tune(
    net: str, seed: int, criterion: str, macs_kept: float, epochs: int, rate: float, weight_decay: float, batch: int
) -> Row:
    """Pruned while it is fine-tuned.

    Every criterion has the same recipe and number of epochs (`kt.fit_with_pruning` with its default schedule), and so has the
    unpruned network. Mean, standard deviation and range over the seeds are of the test accuracy after the last epoch. The seed
    changes the order and the augmentation of the images, the examples scored, and the random criterion. 1 MAC = 1.
    """
    begin, chosen = time.perf_counter(), net_named(net)
    model, data, test = chosen.model(), augmented(chosen, batch, seed), chosen.test()
    schedule = keras.optimizers.schedules.CosineDecay(rate, epochs * len(data))
    optimizer = keras.optimizers.SGD(schedule, momentum=0.9, nesterov=True, weight_decay=weight_decay)
    model.compile(optimizer, model.loss, metrics=["accuracy"])
    if criterion == "unpruned":
        graph = kt.trace(model)
        model.fit(data, epochs=epochs, verbose=2)
        stages = {"final": model.evaluate(*test, verbose=0, return_dict=True)["accuracy"]}
        macs, params = graph.macs, graph.params
    else:
        name, rank = CRITERIA[criterion]
        result = kt.fit_with_pruning(
            model,
            data,
            target=kt.Target(macs=macs_kept),
            epochs=epochs,
            recipe=kt.Recipe(criterion=name, rank=rank, repair=None, distill=None, keep_best=False),
            validation_data=test,
            seed=seed,
            verbose=2,
        )
        stages = {stage.name: stage.metrics["accuracy"] for stage in result.report.stages}
        macs, params = result.report["final"].macs, result.report["final"].params
    sizes = {"macs": macs, "params": params, "train_images": len(chosen.raw("train")[0]), "test_images": len(test[0])}
    return {"accuracy": stages["final"], "stages": stages, **sizes, "seconds": time.perf_counter() - begin}
