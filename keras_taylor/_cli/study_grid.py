"""`keras-taylor study grid`: both networks of the paper on both of its data sets, or small ones on data of yours."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from keras_taylor._cli.failures import told_in_words
from keras_taylor._cli.options import checked, names
from keras_taylor._cli.sources.kinds import kind_and_name, require_reader
from keras_taylor._output.optional import require
from keras_taylor.errors import BadInput, unknown_name

# What is registered in modules that import Keras; a test compares.
NETS = ("alexnet", "vgg16")
RECIPES = ("paper", "small")
ARMS = ("taylor", "activation", "magnitude", "obd", "random", "library", "unpruned")
PAPER = ("tfds:oxford_flowers102", "tfds:caltech_birds2011")


def weights_of(text: str) -> dict[str, str | None]:
    """`NET=WEIGHTS` with commas between them.

    Example:
        >>> weights_of("vgg16=imagenet, alexnet=none")
        {'vgg16': 'imagenet', 'alexnet': None}
    """
    found: dict[str, str | None] = {}
    for part in names(text) if text else ():
        net, equals, weights = part.partition("=")
        if not equals or not weights:
            raise BadInput(f"weights must be NET=imagenet, NET=FILE or NET=none. Received: {part!r}. Write vgg16=imagenet.")
        if net not in NETS:
            raise unknown_name("net", net, NETS)
        found[net] = None if weights == "none" else weights
    return found


def _check_sources(sources: list[str]) -> None:
    for source in sources:
        if kind_and_name(source)[0] == "digits":
            raise BadInput("data must have images of three colours. Received: digits. Pass npz:PATH, folder:PATH or tfds:NAME.")
    if len({_name(source) for source in sources}) < len(sources):
        raise BadInput(f"data must have different names. Received: {', '.join(sources)}.")


def _name(source: str) -> str:
    """What a data set is called: the name of TFDS, or that of the file or folder."""
    kind, name = kind_and_name(source)
    return name.replace("/", "_") if kind == "tfds" else Path(name).stem if name else kind


def _check_nets(text: str) -> None:
    for name in names(text):
        if name not in NETS:
            raise unknown_name("net", name, NETS)


def _check_recipe(name: str) -> None:
    if name not in RECIPES:
        raise unknown_name("recipe", name, RECIPES)


def _check_arms(text: str) -> None:
    from keras_taylor.criteria import registered  # NumPy alone, but no need to wait for it before `--help`

    for name in names(text):
        if name not in ARMS and name not in registered():
            raise unknown_name("criterion or arm", name, [*ARMS, *registered()])


def grid(
    output: Annotated[Path, typer.Option(file_okay=False, help="Folder for this grid; the same command goes on there.")],
    data: Annotated[
        list[str],
        typer.Option(
            "--data", callback=checked(_check_sources), help="npz:PATH, folder:PATH or tfds:NAME; several times for several."
        ),
    ] = list(PAPER),  # noqa: B006  # typer copies it
    net: Annotated[str, typer.Option(callback=checked(_check_nets), help="Of alexnet, vgg16.")] = "alexnet,vgg16",
    criterion: Annotated[
        str, typer.Option(callback=checked(_check_arms), help="Criteria; library is the default recipe, unpruned is N + M.")
    ] = ",".join(ARMS),
    recipe: Annotated[
        str, typer.Option(callback=checked(_check_recipe), help="paper (one map at a time), or small (for nets from scratch).")
    ] = "paper",
    weights: Annotated[
        str,
        typer.Option(callback=checked(weights_of), help="NET=imagenet, NET=FILE.npz or NET=none, with commas: vgg16=imagenet."),
    ] = "",
    width: Annotated[float, typer.Option(min=0.01, max=4.0, help="Share of the full nets' maps.")] = 1.0,
    size: Annotated[int | None, typer.Option(min=32, help="Height and width of images; by default 227 and 224.")] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Number of repetitions, each with a net of its own.")] = 1,
    epochs: Annotated[int | None, typer.Option(min=1, help="N: epochs before pruning.")] = None,
    updates: Annotated[int | None, typer.Option(min=1, help="Mini-batches between two removals; M is all of them.")] = None,
    maps: Annotated[
        float | None, typer.Option(min=0.0001, help="Maps that go at a time: a number, or a share below 1.")
    ] = None,
    every: Annotated[int | None, typer.Option(min=1, help="Removals between two looks at the test images.")] = None,
    until: Annotated[float | None, typer.Option(min=0.01, max=0.99, help="Share of the maps at which pruning ends.")] = None,
    learning_rate: Annotated[float | None, typer.Option(min=1e-9, help="Before pruning.")] = None,
    pruning_rate: Annotated[float | None, typer.Option(min=1e-9, help="Learning rate between removals.")] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Images in a mini-batch.")] = None,
    examples: Annotated[int | None, typer.Option(min=1, help="Training images that maps are scored on.")] = None,
    oracle_examples: Annotated[int | None, typer.Option(min=0, help="Training images for the oracle; 0 leaves it out.")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Go up to the first removal, and say what all of it would need; store nothing.")
    ] = False,
) -> None:
    """Study D: AlexNet and VGG-16 on both data sets: is the order of the criteria the same in all four panels?"""
    with told_in_words(kept_in=output):
        for source in data:
            require_reader(source)
        for module in ("matplotlib", "sklearn"):
            require(module, "studies")
        from keras_taylor import studies
        from keras_taylor._cli import datasets

        def reader(source: str) -> Any:
            def read(pixels: int) -> Any:
                found = datasets.pixels(source, pixels)
                return studies.GridData(found.train, found.test, found.classes)

            return read

        changed = {
            "epochs": epochs,
            "updates": updates,
            "maps": maps,
            "every": every,
            "until": until,
            "learning_rate": learning_rate,
            "pruning_rate": pruning_rate,
            "batch_size": batch_size,
            "examples": examples,
            "oracle_examples": oracle_examples,
        }
        options: dict[str, Any] = {
            "nets": names(net),
            "criteria": names(criterion),
            "recipe": recipe,
            "weights": weights_of(weights),
            "width": width,
            "size": size,
            "seeds": range(seeds),
            "changed": changed,
        }
        sources = {_name(source): reader(source) for source in data}
        if dry_run:
            typer.echo(str(studies.grid_needs(sources, **options)))
            return
        study = studies.grid(sources, run_dir=output, **options)
        study.save(output)
    typer.echo(str(study))
    typer.echo(f"files: {output / study.name}.md, .json, .png")
