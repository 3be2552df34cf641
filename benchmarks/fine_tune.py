"""Prune a trained classifier to half its MACs while fine-tuning it: criteria against each other, and against no pruning.

Every criterion has the same recipe and number of epochs (`kt.fit_with_pruning` with its default schedule), and so has the
unpruned network; mean, standard deviation and range over the seeds are of the test accuracy after the last epoch. The seed
changes the order and the augmentation of the images, the examples scored, and the random criterion.

    python benchmarks/fine_tune.py --weights resnet20.keras --data cifar10.npz

`--data` holds uint8 images: x_train, y_train, x_test, y_test. Each run is stored in --results as soon as it is over; started
again, the script goes on with the runs that are missing.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Annotated, Any

import keras
import numpy as np
import tensorflow as tf
import typer
from _common import MEAN, RESULTS, STD, images, loss_for, normalise, setup, table, write

import keras_taylor as kt

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


def augmented(x: Any, y: Any, batch_size: int, seed: int) -> tf.data.Dataset:
    """Training batches: shuffled, flipped at random, shifted by up to 4 pixels, normalised."""
    mean, std = tf.constant(MEAN), tf.constant(STD)

    def prepare(pair: Any, draw: Any) -> Any:
        image, label = pair
        height, width, depth = image.shape
        image = tf.image.stateless_random_crop(tf.pad(image, [[4, 4], [4, 4], [0, 0]]), [height, width, depth], draw)
        image = tf.image.stateless_random_flip_left_right(image, draw + 1)
        return (tf.cast(image, tf.float32) / 255 - mean) / std, label

    pairs = tf.data.Dataset.from_tensor_slices((x, y)).shuffle(len(x), seed)
    draws = tf.data.Dataset.random(seed, rerandomize_each_iteration=True).batch(2)
    data = tf.data.Dataset.zip(pairs, draws).map(prepare, tf.data.AUTOTUNE).batch(batch_size)
    return data.prefetch(tf.data.AUTOTUNE).apply(tf.data.experimental.assert_cardinality(-(-len(x) // batch_size)))


def run(name: str, seed: int, weights: Path, arrays: dict[str, Any], recipe: dict[str, Any]) -> dict[str, Any]:
    """One run, as a row of the results."""
    keras.utils.clear_session()
    keras.utils.set_random_seed(seed)
    model = keras.models.load_model(weights, compile=False)
    data = augmented(arrays["x_train"], arrays["y_train"], recipe["batch_size"], seed)
    test = (normalise(arrays["x_test"]), arrays["y_test"])
    steps = recipe["epochs"] * len(data)
    model.compile(
        keras.optimizers.SGD(
            keras.optimizers.schedules.CosineDecay(recipe["learning_rate"], steps),
            momentum=0.9,
            nesterov=True,
            weight_decay=recipe["weight_decay"],
        ),
        loss_for(model, test[0]),
        metrics=["accuracy"],
    )
    start = time.perf_counter()
    if name == "unpruned":
        graph = kt.trace(model)
        model.fit(data, epochs=recipe["epochs"], verbose=2)
        accuracies = {"final": model.evaluate(*test, verbose=0, return_dict=True)["accuracy"]}
        macs, params = graph.macs, graph.params
    else:
        criterion, rank = CRITERIA[name]
        result = kt.fit_with_pruning(
            model,
            data,
            target=kt.Target(macs=recipe["macs"]),
            epochs=recipe["epochs"],
            criterion=criterion,
            rank=rank,
            validation_data=test,
            seed=seed,
            verbose=2,
        )
        accuracies = {stage.name: stage.metrics["accuracy"] for stage in result.report.stages}
        macs, params = result.report["final"].macs, result.report["final"].params
    return {
        "criterion": name,
        "seed": seed,
        "accuracy": accuracies["final"],
        "accuracies": accuracies,
        "macs": macs,
        "params": params,
        "seconds": round(time.perf_counter() - start, 1),
    }


def summary(rows: list[dict[str, Any]]) -> str:
    """A table with mean and spread over the seeds."""
    lines = []
    for name, label in LABELS.items():
        found = np.array([row["accuracy"] for row in rows if row["criterion"] == name])
        if not len(found):
            continue
        macs, params = (np.mean([row[size] for row in rows if row["criterion"] == name]) for size in ("macs", "params"))
        deviation = f"{found.std(ddof=1):.4f}" if len(found) > 1 else "-"
        lines.append(
            [
                label,
                f"{macs / 1e6:.2f} M",
                f"{params / 1e3:.0f} k",
                len(found),
                f"{found.mean():.4f}",
                deviation,
                f"{found.min():.4f} to {found.max():.4f}",
            ]
        )
    return table(["criterion", "MACs", "params", "runs", "mean accuracy", "sd", "range"], lines)


def main(
    weights: Annotated[Path, typer.Option(help="A .keras file with a trained classifier.")],
    data: Annotated[Path, typer.Option(help="An .npz file with x_train, y_train, x_test, y_test.")],
    name: Annotated[str, typer.Option(help="What the results call the network and the images.")] = "",
    criteria: Annotated[str, typer.Option(help="Runs for each seed, in order.")] = ",".join(LABELS),
    seeds: int = 3,
    epochs: int = 10,
    macs: float = 0.5,
    learning_rate: float = 0.01,
    weight_decay: float = 1e-4,
    batch_size: int = 128,
    results: Annotated[Path, typer.Option(help="JSON file with the runs; a .md file is written beside it.")] = RESULTS
    / "fine_tune.json",
) -> None:
    """Compare criteria after pruning and fine-tuning."""
    environment = setup(0)
    arrays = images(data)
    recipe = {
        "epochs": epochs,
        "macs": macs,
        "learning_rate": learning_rate,
        "weight_decay": weight_decay,
        "batch_size": batch_size,
    }
    title = name or f"{weights.stem}, {data.stem}"
    fresh = {"name": title, "environment": environment, "recipe": recipe, "rows": []}
    record: dict[str, Any] = json.loads(results.read_text()) if results.exists() else fresh
    if record["recipe"] != recipe:
        raise typer.BadParameter(f"{results.name} holds runs of another recipe: {record['recipe']}. Move it away.")
    results.parent.mkdir(parents=True, exist_ok=True)
    for seed in range(seeds):
        for criterion in criteria.split(","):
            if any((row["criterion"], row["seed"]) == (criterion, seed) for row in record["rows"]):
                continue
            row = run(criterion, seed, weights, arrays, recipe)
            print(row, flush=True)
            record["rows"].append(row)
            part = results.with_suffix(".part")
            part.write_text(json.dumps(record, indent=1), encoding="utf-8")
            part.replace(results)
    error = np.sqrt(0.08 / len(arrays["y_test"]))
    write(
        results.with_suffix(".md"),
        f"# Fine-tuned at {100 * macs:.0f} % of the MACs",
        f"{record['name']}: {len(arrays['y_train']):,} training and {len(arrays['y_test']):,} test images (one standard error "
        f"of an accuracy near .91 is about {error:.3f}; the runs share the test images, so differences between them are surer "
        f"than that). {epochs} epochs in all, pruned at the start of the first {max(min(5, epochs // 2), 1)} of them; SGD, "
        f"Nesterov momentum 0.9, learning rate {learning_rate} with cosine decay, weight decay {weight_decay}, batch "
        f"{batch_size}, random flips and shifts by 4 pixels. 1 MAC = 1.",
        summary(record["rows"]),
        f"Made by `python benchmarks/fine_tune.py --weights resnet20.keras --data cifar10.npz --criteria {criteria}`. "
        f"{record['environment']}.",
    )
    print(summary(record["rows"]))


if __name__ == "__main__":
    typer.run(main)
