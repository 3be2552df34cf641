"""Pruning against precision against both: accuracy over bit operations of the .tflite files themselves.

    python benchmarks/precision.py --weights resnet20.keras --data npz:cifar10_lossless.npz --scaling torch

`--data` is as for `keras-taylor sweep`: npz:PATH, folder:PATH, tfds:NAME or digits. Files and rows are stored in --run-dir;
started again, the script goes on with the rows that are missing. --results gets the table as JSON; .md, .csv and .svg are
written beside it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import keras
import typer
from _common import RESULTS, setup, write

import keras_taylor as kt
from keras_taylor._cli import datasets


def main(
    weights: Annotated[Path, typer.Option(help="A .keras file with a trained classifier.")],
    data: Annotated[str, typer.Option(help="npz:PATH, folder:PATH, tfds:NAME or digits.")],
    name: Annotated[str, typer.Option(help="What the results call the network and the images.")] = "",
    scaling: Annotated[str, typer.Option(help="What the network wants images of 0 to 255 as: none, 0-1, tf, torch.")] = "none",
    probabilities: Annotated[bool, typer.Option(help="The network puts out probabilities, not logits.")] = False,
    targets: Annotated[str, typer.Option(help="Shares of the MACs.")] = "1,0.7,0.5,0.3",
    quantizers: Annotated[str, typer.Option(help="Names of quantizers.")] = "float32,float16,dynamic,int8_ptq,int8_qat",
    orders: Annotated[str, typer.Option(help="prune_quantize, quantize_while_pruning.")] = "prune_quantize",
    seeds: int = 1,
    epochs: Annotated[int, typer.Option(help="Fine-tuning epochs for each target; 0 prunes in one shot.")] = 10,
    rate: Annotated[float, typer.Option(help="Learning rate of fine-tuning.")] = 0.01,
    qat_epochs: Annotated[int, typer.Option(help="Epochs of quantization-aware training.")] = 3,
    qat_rate: Annotated[float, typer.Option(help="Learning rate of quantization-aware training, with Adam.")] = 1e-4,
    batch_size: int = 128,
    repair: Annotated[str, typer.Option(help="A method of kt.repair, or none.")] = "auto",
    run_dir: Annotated[
        Path | None, typer.Option(help="Where files and rows go; runs/<name of the results> by default.")
    ] = None,
    results: Annotated[Path, typer.Option(help="JSON file; .md, .csv and .svg are written beside it.")] = RESULTS
    / "precision.json",
) -> None:
    """A grid of targets and precisions, as a table, a figure and an answer."""
    environment = setup(0)
    model = keras.models.load_model(weights, compile=False)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=not probabilities)
    model.compile(keras.optimizers.SGD(rate, momentum=0.9, nesterov=True), loss, metrics=["accuracy"])
    images = datasets.load(data, model, scaling=scaling, batch_size=batch_size)
    qat = kt.Int8QAT(epochs=qat_epochs, learning_rate=qat_rate, batch_size=batch_size)
    table = kt.sweep(
        model,
        images.train,
        validation_data=images.test,
        run_dir=run_dir or Path("runs") / results.stem,
        targets=[float(target) for target in targets.split(",")],
        quantizers=[qat if quantizer == qat.name else quantizer for quantizer in quantizers.split(",")],
        orders=orders.split(","),
        seeds=range(seeds),
        epochs=epochs,
        repair=None if repair == "none" else repair,
        batch_size=batch_size,
    )
    results.parent.mkdir(parents=True, exist_ok=True)
    table.save(results)
    table.to_csv(results.with_suffix(".csv"))
    table.figure(results.with_suffix(".svg"))
    source = data.rpartition("/")[2]
    options = f"--weights {weights.name} --data {source} --scaling {scaling} --targets {targets} --quantizers {quantizers}"
    options += f" --orders {orders} --seeds {seeds} --epochs {epochs} --rate {rate:g}{' --probabilities' * probabilities}"
    options += f" --qat-epochs {qat_epochs} --qat-rate {qat_rate:g} --batch-size {batch_size} --repair {repair}"
    repeated = f"means and standard deviations over {seeds} seeds" if seeds > 1 else "one seed"
    write(
        results.with_suffix(".md"),
        "# Pruning, precision, and both",
        f"{name or f'{weights.stem}, {source}'}: every row is a .tflite file, run by LiteRT on {table.rows[0].examples:,} test "
        f"images; {repeated}. Each target was pruned and fine-tuned for {epochs} epochs (SGD, momentum 0.9, learning rate "
        f"{rate:g}), the unpruned network (1) too; int8_qat trains {qat_epochs} epochs longer than the other rows. `float` is "
        "the accuracy of the Keras model that a file was made from; `*` marks the rows that no other one beats in BOPs and "
        "accuracy.",
        f"![Accuracy against BOPs]({results.with_suffix('.svg').name})",
        table.answer(),
        table.to_markdown(),
        *(f"No row: {key}: {reason}." for key, reason in table.skipped.items()),
        f"Made by `python benchmarks/precision.py {options}`. {environment}.",
    )


if __name__ == "__main__":
    typer.run(main)
