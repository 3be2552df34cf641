"""`keras-taylor sweep`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from keras_taylor._cli.failures import told_in_words
from keras_taylor._cli.options import (
    BatchSize,
    CriterionName,
    Data,
    LearningRate,
    Model,
    Orders,
    Output,
    Quantizers,
    RepairMethod,
    Scaling,
    Seeds,
    Targets,
    names,
    numbers,
)
from keras_taylor._cli.sources.kinds import require_reader
from keras_taylor._output.optional import require


def sweep(
    model: Model,
    data: Data,
    output: Output,
    targets: Targets = "1,0.7,0.5,0.3",
    quantizers: Quantizers = "float32,float16,dynamic,int8_ptq,int8_qat",
    orders: Orders = "prune_quantize",
    seeds: Seeds = 1,
    epochs: Annotated[int, typer.Option(min=0, help="Fine-tuning epochs for each target; 0 prunes in one shot.")] = 10,
    qat_epochs: Annotated[int, typer.Option(min=0, help="Epochs of quantization-aware training.")] = 3,
    learning_rate: LearningRate = None,
    scaling: Scaling = "none",
    batch_size: BatchSize = 32,
    criterion: CriterionName = "taylor_gate",
    repair: RepairMethod = "auto",
    allow_uncounted: Annotated[
        bool, typer.Option("--allow-uncounted", help="Accept that MACs leave out operations which cannot be counted.")
    ] = False,
    verbose: Annotated[int, typer.Option(min=0, max=2, help="0 is silent but for the table, 2 shows training.")] = 1,
) -> None:
    """Prune to every target, quantize in every precision, measure every file: a table, a figure and an answer in words."""
    with told_in_words(kept_in=output):
        # What is missing is missed now, and not after hours of training.
        require_reader(data)
        require("ai_edge_litert", "litert")
        require("matplotlib", "studies")
        if "int8_qat" in names(quantizers):
            require("tensorflow_model_optimization", "qat")
        from keras_taylor._cli import datasets, models
        from keras_taylor._run.recipe import Recipe
        from keras_taylor._sweep.sweep import sweep as swept

        loaded = models.compiled(models.load(model), learning_rate)
        images = datasets.load(data, loaded, scaling=scaling, batch_size=batch_size)
        table = swept(
            loaded,
            images.train,
            validation_data=images.test,
            run_dir=output,
            targets=numbers(targets),
            quantizers=_quantizers(quantizers, qat_epochs, batch_size),
            orders=names(orders),
            seeds=range(seeds),
            epochs=epochs,
            recipe=Recipe(criterion=criterion, repair=None if repair == "none" else repair),
            batch_size=batch_size,
            allow_uncounted=allow_uncounted,
            verbose=verbose,
        )
        table.save(output / "table.json")
        table.save(output / "table.csv")
        table.save(output / "table.md")
        table.figure(output / "figure.png")
    typer.echo(str(table))
    typer.echo(table.answer())
    typer.echo(f"files: {output}")


def _quantizers(text: str, epochs: int, batch_size: int) -> list[Any]:
    from keras_taylor.quantizers import quantizer_for

    return [quantizer_for(name).with_training(epochs=epochs, batch_size=batch_size) for name in names(text)]
