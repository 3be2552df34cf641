"""The options that commands share, each declared once, and the checks of their values; none needs Keras or TensorFlow."""

from __future__ import annotations

import ast
import importlib.util
import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated

import typer

from keras_taylor._cli.sources.kinds import SCALINGS, kind_and_name
from keras_taylor.errors import BadInput, KerasTaylorError, unknown_name

# What is registered in modules that import Keras; a test compares.
QUANTIZERS = ("float32", "float16", "dynamic", "int8_ptq", "int16x8_ptq", "int8_qat")
ORDERS = ("prune_quantize", "quantize_while_pruning")
REPAIRS = ("auto", "none", "bias", "lstsq", "batchnorm", "tune")


def numbers(text: str) -> list[float]:
    """Different numbers with commas between them.

    Example:
        >>> numbers("1, 0.7")
        [1.0, 0.7]
    """
    try:
        found = [float(part) for part in text.split(",")]
    except ValueError:
        raise BadInput(f"These must be numbers with commas between. Received: {text!r}. Write 0.7,0.5.") from None
    if len(set(found)) < len(found):
        raise BadInput(f"These must be different numbers. Received: {text!r}.")
    return found


def names(text: str) -> list[str]:
    """Names with commas between them.

    Example:
        >>> names("float32, int8_ptq")
        ['float32', 'int8_ptq']
    """
    return [part.strip() for part in text.split(",")]


def application_of(model: str) -> str | None:
    """NAME in `applications:NAME`; None for a path."""
    kind, colon, name = model.partition(":")
    return name if colon and kind == "applications" else None


def _check_targets(text: str) -> None:
    if not all(0 < share <= 1 for share in numbers(text)):
        raise BadInput(f"These must be shares of the MACs in (0, 1]. Received: {text!r}. Write 0.5 to keep half.")


def _check_shares(text: str) -> None:
    if not all(0 < share < 1 for share in numbers(text)):
        raise BadInput(f"These must be shares between 0 and 1. Received: {text!r}. Write 0.5 for half.")


def _check_weights(text: str) -> None:
    if not all(weight >= 0 for weight in numbers(text)):
        raise BadInput(f"These must be numbers of at least 0, or inf. Received: {text!r}. Write 0,0.1,1,inf.")


def _check_rate(rate: float | None) -> None:
    if rate is not None and not (rate > 0 and math.isfinite(rate)):
        raise BadInput(f"This must be a number above 0. Received: {rate!r}. Write 0.001.")


def _check_names(what: str, known: Iterable[str]) -> Callable[[str], None]:
    def check(text: str) -> None:
        for name in names(text):
            if name not in known:
                raise unknown_name(what, name, known)
        if len(set(names(text))) < len(names(text)):
            raise BadInput(f"These must be different names. Received: {text!r}.")

    return check


def _check_name(what: str, known: Iterable[str]) -> Callable[[str], None]:
    def check(name: str) -> None:
        if name not in known:
            raise unknown_name(what, name, known)

    return check


def _check_criterion(name: str) -> None:
    from keras_taylor.criteria import registered  # NumPy alone, but no need to wait for it before `--help`

    _check_name("The criterion", list(registered()))(name)


def _check_model(model: str) -> None:
    application = application_of(model)
    if application is None:
        if not Path(model).is_file():
            raise BadInput(f"This must be a .keras file that exists, or applications:NAME. Received: {model!r}.")
    elif (known := _applications()) and application not in known:
        raise unknown_name("The model of keras.applications", application, known)


def _applications() -> list[str]:
    """The models of `keras.applications` as its file lists them; none where it is not found, and Keras itself has to say."""
    keras = importlib.util.find_spec("keras")
    for folder in keras.submodule_search_locations or () if keras else ():
        path = Path(folder, "applications", "__init__.py")
        if path.is_file():
            body = ast.parse(path.read_text(encoding="utf-8")).body
            listed = [alias.name for node in body if isinstance(node, ast.ImportFrom) for alias in node.names]
            return [name for name in listed if not name.islower()]  # its modules are written small
    return []


def checked(check: Callable[..., object]) -> Callable[..., object]:
    """A callback of an option: the value as it came, if `check` does not object."""

    def callback(value: object) -> object:
        try:
            check(value)
        except KerasTaylorError as error:
            raise typer.BadParameter(str(error)) from None
        return value

    return callback


Model = Annotated[
    str,
    typer.Option(
        "--model",
        callback=checked(_check_model),
        help="A .keras file with a classifier of one input, or applications:NAME with ImageNet's weights.",
    ),
]
ModelArgument = Annotated[
    str, typer.Argument(callback=checked(_check_model), metavar="MODEL", help="A .keras file, or applications:NAME.")
]
Data = Annotated[
    str,
    typer.Option("--data", callback=checked(kind_and_name), help="digits, npz:PATH (x_train, ...), folder:PATH or tfds:NAME."),
]
Output = Annotated[
    Path, typer.Option(file_okay=False, help="Folder for this model and these data; the same command goes on there.")
]
Scaling = Annotated[
    str,
    typer.Option(
        callback=checked(_check_name("scaling", SCALINGS)),
        help=f"What the model wants images of 0 to 255 as: {', '.join(SCALINGS)}.",
    ),
]
BatchSize = Annotated[int, typer.Option(min=1, help="Images at once, in training and scoring.")]
Seeds = Annotated[int, typer.Option(min=1, help="Number of repetitions.")]
Examples = Annotated[int, typer.Option(min=2, help="Training images of a sample.")]
Targets = Annotated[str, typer.Option(callback=checked(_check_targets), help="Shares of the MACs to keep; 1 is unpruned.")]
Budgets = Annotated[str, typer.Option(callback=checked(_check_shares), help="Budgets: shares of the MACs that are kept.")]
Removals = Annotated[str, typer.Option(callback=checked(_check_shares), help="Shares of every layer's channels that go.")]
Weights = Annotated[str, typer.Option(callback=checked(_check_weights), help="Values of lambda to choose from.")]
Quantizers = Annotated[
    str, typer.Option(callback=checked(_check_names("quantizer", QUANTIZERS)), help=f"Of {', '.join(QUANTIZERS)}.")
]
Orders = Annotated[str, typer.Option(callback=checked(_check_names("order", ORDERS)), help=f"Of {', '.join(ORDERS)}.")]
CriterionName = Annotated[
    str, typer.Option(callback=checked(_check_criterion), help="What scores channels: taylor_gate, taylor, taylor2, l1, ...")
]
RepairMethod = Annotated[
    str,
    typer.Option(callback=checked(_check_name("repair", REPAIRS)), help=f"What refits a pruned model: {', '.join(REPAIRS)}."),
]
LearningRate = Annotated[
    float | None,
    typer.Option(callback=checked(_check_rate), help="Fine-tune with Adam at this rate instead of the model's own optimizer."),
]
