"""`keras-taylor study NAME`: one command for each study of `kt.studies`."""

from __future__ import annotations

import inspect
from typing import Annotated, Any

import typer

from keras_taylor._cli.failures import told_in_words
from keras_taylor._cli.options import (
    BatchSize,
    Budgets,
    Data,
    Examples,
    Model,
    Output,
    Removals,
    Scaling,
    Seeds,
    Weights,
    numbers,
)
from keras_taylor._cli.sources.kinds import require_reader
from keras_taylor._cli.study_grid import grid
from keras_taylor._output.optional import require

app = typer.Typer(
    help="Questions that the paper left open, answered on your model.",
    epilog="Example: keras-taylor study correlation --model model.keras --data npz:images.npz --output runs/studies",
    no_args_is_help=True,
    add_completion=False,
)
Folds = Annotated[int, typer.Option(min=2, help="Parts of the sample for cross-validation.")]
Timed = Annotated[int, typer.Option(min=1, help="Training images that are scored for the clock.")]
Memory = Annotated[bool, typer.Option(help="Measure peak memory, each criterion in a process of its own.")]
Share = Annotated[float, typer.Option(min=0.01, max=0.99, help="Budget: the share of the MACs that pruning keeps.")]
Epochs = Annotated[int, typer.Option(min=1, help="M: epochs of pruning, and of the unpruned model's further training.")]
EpochsBefore = Annotated[
    int | None, typer.Option(min=1, help="N: epochs of the model's own training; by default what its optimizer counted.")
]
SAMPLE = (Examples, 1024)


def _answer(
    name: str,
    validated: bool,
    own: dict[str, Any],
    model: Model,
    data: Data,
    output: Output,
    scaling: Scaling = "none",
    seeds: Seeds = 3,
    batch_size: BatchSize = 64,
) -> None:
    """Run a study, and store and print what it found."""
    with told_in_words(kept_in=output):
        require_reader(data)
        for module in ("matplotlib", "sklearn"):
            require(module, "studies")
        from keras_taylor import studies
        from keras_taylor._cli import datasets, models

        loaded = models.compiled(models.load(model))
        images = datasets.load(data, loaded, scaling=scaling)
        study = getattr(studies, name)(
            loaded,
            images.train,
            **({"validation_data": images.test} if validated else {}),
            run_dir=output,
            seeds=range(seeds),
            batch_size=batch_size,
            **{key: numbers(value) if isinstance(value, str) else value for key, value in own.items()},
        )
        study.save(output)
    typer.echo(str(study))
    typer.echo(f"files: {output / study.name}.md, .json, .png")


def _register(name: str, question: str, validated: bool = True, **own: tuple[Any, Any]) -> None:
    """Make the command of a study.

    Args:
        name: of the function in `kt.studies`.
        question: the first line of `--help`.
        validated: whether it takes `validation_data`.
        own: the options that it has beside those of all studies, each as `(type, default)`, named as its arguments.
    """
    shared = list(inspect.signature(_answer, eval_str=True).parameters.values())[3:]
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    added = [inspect.Parameter(key, kind, annotation=type_, default=default) for key, (type_, default) in own.items()]

    def command(**given: Any) -> None:
        _answer(name, validated, {key: given.pop(key) for key in own}, **given)

    command.__signature__ = inspect.Signature([*shared, *added])  # type: ignore[attr-defined]  # where typer looks for options
    example = f"Example: keras-taylor study {name} --model model.keras --data npz:images.npz --output runs/studies"
    app.command(name, help=question, epilog=example)(command)


_register(
    "correlation",
    "Rank every criterion by its correlation with the oracle: the paper's Table 1.",
    validated=False,
    examples=SAMPLE,
)
_register(
    "disagree",
    "Study A1: which disagreements of Taylor with activation pruning matter?",
    shares=(Removals, "0.05,0.1,0.2"),
    examples=SAMPLE,
)
_register(
    "blend",
    "Study A2: does activation added to Taylor, with a cross-validated weight, prune better than Taylor?",
    shares=(Budgets, "0.9,0.8,0.7"),
    weights=(Weights, "0,0.01,0.03,0.1,0.3,1,3,10,inf"),
    folds=(Folds, 5),
    examples=SAMPLE,
)
_register(
    "obd",
    "Study B: Optimal Brain Damage against Taylor: correlation, accuracy, time and memory.",
    shares=(Budgets, "0.9,0.8,0.7"),
    timed=(Timed, 256),
    memory=(Memory, True),
    examples=SAMPLE,
)
_register(
    "baseline",
    "Study E: is the drop still minor against the unpruned model, trained for as long, and against nets from scratch?",
    share=(Share, 0.5),
    epochs=(Epochs, 10),
    epochs_before=(EpochsBefore, None),
)
app.command(
    epilog="Example: keras-taylor study grid --data npz:flowers.npz --data npz:cifar10.npz --recipe small --width 0.25 "
    "--size 64 --output runs/grid"
)(grid)
