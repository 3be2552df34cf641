"""The `keras-taylor` command."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import keras
import typer

from keras_taylor import studies
from keras_taylor._cli import datasets
from keras_taylor._cli.demo import run as run_demo
from keras_taylor._score.score import DEFAULT_CRITERION
from keras_taylor._sweep.sweep import sweep
from keras_taylor._trace.graph import trace
from keras_taylor.errors import BadInput, unknown_name
from keras_taylor.quantizers import Quantizer, quantizer_for

app = typer.Typer(help="Structured pruning for Keras 3.", no_args_is_help=True, add_completion=False)
studies_app = typer.Typer(help="Questions that the paper left open, answered on your model.", no_args_is_help=True)
app.add_typer(studies_app, name="study")

ModelName = Annotated[str, typer.Option("--model", help="A .keras file, or applications:NAME with ImageNet's weights.")]
DataName = Annotated[str, typer.Option("--data", help="digits, npz:PATH (x_train, ...), folder:PATH or tfds:NAME.")]
Output = Annotated[Path, typer.Option(help="Folder for studies of this model and these data; the same command goes on there.")]
Scaling = Annotated[str, typer.Option(help="What the model wants images of 0 to 255 as: none, 0-1, tf, torch, caffe.")]
Examples = Annotated[int, typer.Option(min=2, help="Training images of a sample.")]
Shares = Annotated[str, typer.Option(help="Budgets: shares of the MACs that are kept.")]
Seeds = Annotated[int, typer.Option(min=1, help="Number of samples.")]
BatchSize = Annotated[int, typer.Option(min=1, help="Images scored at once.")]


@app.command()
def demo(
    folder: Annotated[Path | None, typer.Option(help="Where the files go; a temporary folder by default.")] = None,
    epochs: Annotated[int, typer.Option(min=1, help="Training epochs, and again fine-tuning epochs.")] = 10,
    target: Annotated[float, typer.Option(min=0.01, max=1.0, help="Fraction of the MACs to keep.")] = 0.5,
    seed: Annotated[int, typer.Option(help="Seed of weights, data order and scoring.")] = 0,
) -> None:
    """Train a small CNN on handwritten digits, prune it to half the MACs, verify it, export it, time it."""
    with _clear_errors():
        code = run_demo(folder, epochs, target, seed)
    raise typer.Exit(code)


@app.command("trace")
def show_trace(model: Annotated[Path, typer.Argument(help="A .keras file.")]) -> None:
    """Print the channels of a model: layer groups, MACs, parameters, what is tied to what, what is locked and why."""
    with _clear_errors():
        typer.echo(str(trace(keras.models.load_model(model, compile=False))))


@app.command("sweep")
def run_sweep(
    model: Annotated[Path, typer.Option(help="A .keras file: a classifier with one input.")],
    data: Annotated[str, typer.Option(help="digits, npz:PATH (x_train, ...), folder:PATH or tfds:NAME.")],
    output: Annotated[Path, typer.Option(help="Folder of this sweep; the same command goes on there.")],
    targets: Annotated[str, typer.Option(help="Shares of the MACs to keep; 1 is unpruned.")] = "1,0.7,0.5,0.3",
    quantizers: Annotated[
        str, typer.Option(help="float32, float16, dynamic, int8_ptq, int16x8_ptq, int8_qat.")
    ] = "float32,float16,dynamic,int8_ptq,int8_qat",
    orders: Annotated[str, typer.Option(help="prune_quantize, quantize_while_pruning.")] = "prune_quantize",
    seeds: Annotated[int, typer.Option(min=1, help="Number of repetitions.")] = 1,
    epochs: Annotated[int, typer.Option(min=0, help="Fine-tuning epochs for each target; 0 prunes in one shot.")] = 10,
    qat_epochs: Annotated[int, typer.Option(min=0, help="Epochs of quantization-aware training.")] = 3,
    learning_rate: Annotated[
        float | None, typer.Option(help="Fine-tune with Adam at this rate instead of the model's own optimizer.")
    ] = None,
    scaling: Annotated[str, typer.Option(help="What the model wants images of 0 to 255 as: none, 0-1, tf, torch.")] = "none",
    batch_size: Annotated[int, typer.Option(min=1, help="Examples per training step.")] = 32,
    criterion: Annotated[str, typer.Option(help="How channels are scored.")] = DEFAULT_CRITERION,
    repair: Annotated[str, typer.Option(help="A method of kt.repair, or none.")] = "auto",
    verbose: Annotated[int, typer.Option(min=0, max=2, help="0 is silent but for the table, 2 shows training.")] = 1,
) -> None:
    """Prune to every target, quantize in every precision, measure every file: a table, a figure and an answer in words."""
    with _clear_errors(), _interruptible(output):
        loaded = keras.models.load_model(model)
        _compile(loaded, learning_rate)
        images = datasets.load(data, loaded, scaling=scaling, batch_size=batch_size)
        table = sweep(
            loaded,
            images.train,
            validation_data=images.test,
            run_dir=output,
            targets=_numbers(targets, "targets"),
            quantizers=[_quantizer(name, qat_epochs, batch_size) for name in quantizers.split(",")],
            orders=orders.split(","),
            seeds=range(seeds),
            epochs=epochs,
            criterion=criterion,
            repair=None if repair == "none" else repair,
            batch_size=batch_size,
            verbose=verbose,
        )
        table.save(output / "table.json")
        table.to_csv(output / "table.csv")
        table.figure(output / "figure.svg")
    typer.echo(str(table))
    typer.echo(table.answer())
    typer.echo(f"files: {output}")


@studies_app.command("correlation")
def study_correlation(
    model: ModelName,
    data: DataName,
    output: Output,
    scaling: Scaling = "none",
    examples: Examples = 1024,
    seeds: Seeds = 3,
    batch_size: BatchSize = 64,
) -> None:
    """Rank every criterion by its correlation with the oracle: the paper's Table 1."""
    with _studied(model, data, output, scaling, examples, seeds, batch_size) as (loaded, images, common):
        _finish(studies.correlation(loaded, images.train, **common), output)


@studies_app.command("disagree")
def study_disagree(
    model: ModelName,
    data: DataName,
    output: Output,
    scaling: Scaling = "none",
    shares: Annotated[str, typer.Option(help="Shares of every layer's channels that go.")] = "0.05,0.1,0.2",
    examples: Examples = 1024,
    seeds: Seeds = 3,
    batch_size: BatchSize = 64,
) -> None:
    """Study A1: which disagreements of Taylor with activation pruning matter?"""
    with _studied(model, data, output, scaling, examples, seeds, batch_size) as (loaded, images, common):
        study = studies.disagree(
            loaded,
            images.train,
            validation_data=images.test,
            shares=_numbers(shares, "shares"),
            **common,
        )
        _finish(study, output)


@studies_app.command("blend")
def study_blend(
    model: ModelName,
    data: DataName,
    output: Output,
    scaling: Scaling = "none",
    shares: Shares = "0.9,0.8,0.7",
    weights: Annotated[str, typer.Option(help="Values of lambda to choose from.")] = "0,0.01,0.03,0.1,0.3,1,3,10,inf",
    folds: Annotated[int, typer.Option(min=2, help="Parts of the sample for cross-validation.")] = 5,
    examples: Examples = 1024,
    seeds: Seeds = 3,
    batch_size: BatchSize = 64,
) -> None:
    """Study A2: does activation added to Taylor, with a cross-validated weight, prune better than Taylor?"""
    with _studied(model, data, output, scaling, examples, seeds, batch_size) as (loaded, images, common):
        study = studies.blend(
            loaded,
            images.train,
            validation_data=images.test,
            weights=_numbers(weights, "weights"),
            shares=_numbers(shares, "shares"),
            folds=folds,
            **common,
        )
        _finish(study, output)


@studies_app.command("obd")
def study_obd(
    model: ModelName,
    data: DataName,
    output: Output,
    scaling: Scaling = "none",
    shares: Shares = "0.9,0.8,0.7",
    examples: Examples = 1024,
    seeds: Seeds = 3,
    timed: Annotated[int, typer.Option(min=1, help="Training images that are scored for the clock.")] = 256,
    memory: Annotated[bool, typer.Option(help="Measure peak memory, each criterion in a process of its own.")] = True,
    batch_size: BatchSize = 64,
) -> None:
    """Study B: Optimal Brain Damage against Taylor: correlation, accuracy, time and memory."""
    with _studied(model, data, output, scaling, examples, seeds, batch_size) as (loaded, images, common):
        study = studies.obd(
            loaded,
            images.train,
            validation_data=images.test,
            shares=_numbers(shares, "shares"),
            timed=timed,
            memory=memory,
            **common,
        )
        _finish(study, output)


@contextmanager
def _studied(
    model: str, data: str, output: Path, scaling: str, examples: int, seeds: int, batch_size: int
) -> Iterator[tuple[Any, datasets.Images, dict[str, Any]]]:
    """The compiled model, its images, and the options that all studies have, with clear errors."""
    with _clear_errors(), _interruptible(output):
        loaded = _load(model)
        _compile(loaded, None)
        common = {"run_dir": output, "examples": examples, "seeds": range(seeds), "batch_size": batch_size}
        yield loaded, datasets.load(data, loaded, scaling=scaling), common


def _load(model: str) -> Any:
    """The model that a command names."""
    kind, _, name = model.partition(":")
    if kind != "applications":
        return keras.models.load_model(model)
    builders = [found for found in dir(keras.applications) if callable(getattr(keras.applications, found))]
    if name not in builders:
        raise unknown_name("The model of keras.applications", name, builders)
    return getattr(keras.applications, name)(weights="imagenet")


def _finish(study: studies.Study, output: Path) -> None:
    study.save(output)
    typer.echo(str(study))
    typer.echo(f"files: {output / study.name}.md, .json, .svg")


def _compile(model: Any, learning_rate: float | None) -> None:
    """Compile a model that is not compiled, or that is to be trained in another way."""
    if model.compiled and learning_rate is None:
        return
    # The activation of the last layer decides; without one, or with a linear one, the outputs are logits.
    last = getattr(model.layers[-1], "activation", None)
    softmax = isinstance(model.layers[-1], keras.layers.Softmax) or getattr(last, "__name__", "") == "softmax"
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=not softmax)
    optimizer = keras.optimizers.Adam(learning_rate or 1e-3)
    model.compile(optimizer, model.loss if model.compiled else loss, metrics=["accuracy"])


def _numbers(text: str, what: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise BadInput(f"{what} must be numbers with commas between. Received: {text!r}. Write 0.7,0.5.") from None


def _quantizer(name: str, epochs: int, batch_size: int) -> Quantizer:
    return quantizer_for(name.strip()).with_training(epochs=epochs, batch_size=batch_size)


@contextmanager
def _interruptible(output: Path) -> Iterator[None]:
    """Control-C ends the command with the exit code that shells expect, and a word on how to go on."""
    try:
        yield
    except KeyboardInterrupt:
        typer.secho(f"Interrupted. The same command goes on in {output}.", fg="yellow", err=True)
        raise typer.Exit(130) from None


@contextmanager
def _clear_errors() -> Iterator[None]:
    """What the user can mend is said in one line, with exit code 2."""
    try:
        yield
    except (ValueError, OSError) as error:
        typer.secho(f"{type(error).__name__}: {error}", fg="red", err=True)
        raise typer.Exit(2) from None
