"""The fair baseline: what the unpruned net reaches with the training that the pruned one was given."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras

from keras_taylor._keras.batches import joined
from keras_taylor._keras.compilation import inner_optimizer
from keras_taylor._plan.target import Target
from keras_taylor._run.checks import check_data, check_feasible
from keras_taylor._run.recipe import Recipe, recipe_for
from keras_taylor._run.schedule import check_schedule
from keras_taylor.errors import BadInput, shown, whole_number
from keras_taylor.studies._baseline_arms import Arms
from keras_taylor.studies._lab import Lab, check_shares
from keras_taylor.studies._study import Study

RECIPES: dict[str, Recipe | str] = {"paper": "paper", "library": Recipe(keep_best=False)}


def baseline(
    model: Any,
    x: Any,
    y: Any = None,
    *,
    validation_data: Any,
    run_dir: str | Path,
    share: float = 0.5,
    epochs: int = 10,
    epochs_before: int | None = None,
    recipes: Mapping[str, Recipe | str] | None = None,
    optimizer: Any = None,
    seeds: Sequence[int] = (0, 1, 2),
    batch_size: int = 64,
    verbose: str | int = "auto",
) -> Study:
    """The pruned net beside what the same training makes of the unpruned one, and of small nets from scratch.

    A pruned net was trained for N epochs and M more while it was pruned; its accuracy is usually compared with that of the
    unpruned net after N. Here the unpruned net is also trained for M more: with its optimizer as it is, with a new one, and
    with a rate that falls to 0, as the library's recipe lets it. Beside them stand the pruned shape from scratch, for N + M
    epochs (scratch-E) and for as many as have the MACs of N + M epochs of the unpruned net (scratch-B), and from scratch a net
    with all layers shrunk alike to the same MACs. All arms end with the weights of their last epoch: the validation data
    choose nothing.

    Each seed draws the order of the examples, the weights of what starts from scratch, and what pruning draws. The given model
    is the same for all seeds: intervals do not say how much another training of its N epochs would change.

    Args:
        model: a compiled, trained classifier, or the `ChannelGraph` of one: the result of the first N epochs. It is not
            changed.
        x: training images as `fit` takes them: an array of shape `(n, height, width, colours)` beside `y`, a tuple `(x, y)`, or
            a data set that yields both. They are read once, into memory: random augmentation belongs into the model.
        y: their labels, shape `(n,)` or one-hot `(n, classes)`, where `x` is an array.
        validation_data: other data, which measure the accuracy.
        run_dir: a folder for this study of this model and these data. What is there is not measured again.
        share: the budget: the share of the MACs that stays, between 0 and 1.
        epochs: M: of the pruned nets' fine-tuning, and of the unpruned ones' further training.
        epochs_before: N: the epochs that the model was trained for on these data; by default as many as its optimizer counted
            updates for.
        recipes: the ways to prune, by name; by default that of Molchanov et al. 2017 ("paper") and `kt.Recipe()` ("library").
        optimizer: what starts anew (restarted, and from scratch) is trained with one that has this one's config; by default
            the compiled one's. Give it where a callback has lowered the learning rate of the compiled one.
        seeds: each arm is trained once for each.
        batch_size: of all training; that of the first N epochs, so that N + M means the same for all.
        verbose: `"auto"` or 1 says what is measured, with progress bars; 2 says it without them, 0 is silent.

    Returns:
        A `kt.studies.Study`; `.save(folder)` writes JSON, Markdown and a figure.

    Raises:
        BadInput: what cannot work, or a folder of another study, model or data; before any training.
        InfeasibleTarget: a share that cannot be reached.

    Example:
        >>> import keras, numpy as np, tempfile, keras_taylor as kt
        >>> model = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Conv2D(8, 3, activation="relu"),
        ...                           keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(2)])
        >>> model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        >>> data = np.random.default_rng(0).random((64, 8, 8, 1)).astype("float32"), np.arange(64) % 2
        >>> history = model.fit(*data, batch_size=64, epochs=2, verbose=0)
        >>> study = kt.studies.baseline(model, data, validation_data=data, run_dir=tempfile.mkdtemp(), epochs=1, seeds=(0,),
        ...                             recipes={"mine": kt.Recipe(criterion="l1", repair=None)}, verbose=0)
        >>> [arm["updates"][0] for arm in study.values["arms"]][:3]
        [2, 3, 3]

    References:
        Molchanov et al. 2017, section 3; Liu et al. 2019, "Rethinking the value of network pruning" (scratch-E, scratch-B).
    """
    (share,) = check_shares([share])
    epochs = whole_number("epochs", epochs)
    if epochs_before is not None:
        epochs_before = whole_number("epochs_before", epochs_before)
    chosen = _checked_recipes(recipes, epochs)
    lab = Lab(model, joined(x, y), run_dir, examples=None, seeds=seeds, batch_size=batch_size, verbose=verbose)
    held_back = lab.validation(validation_data)
    for recipe in chosen.values():
        check_feasible(lab.graph, Target(macs=share), recipe.constraints)
        check_data(lab.model, (lab.x, lab.y), recipe, trains=True)
    before = epochs_before or _counted(lab)
    anew = lab.model.optimizer if optimizer is None else _checked_optimizer(optimizer)
    arms = Arms(lab, held_back, before=before, epochs=epochs, share=share, recipes=chosen, optimizer=anew)
    found = arms.fill(lab.seeds)
    names = ("accuracy", "epochs", "updates", "macs", "training macs", "seconds")
    values = [
        {"role": arm.role, "recipe": arm.recipe, "name": arm.name, **{name: [cell[name] for cell in cells] for name in names}}
        for arm, cells in found.items()
    ]
    settings = {**lab.settings, "seeds": lab.seeds, "share": share, "epochs before": before, "epochs": epochs}
    settings |= {"optimizer": type(inner_optimizer(anew)).__name__, "validation examples": len(held_back[0])}
    about = {name: recipe.settings() for name, recipe in chosen.items()}
    return Study("baseline", settings, {"arms": values, "recipes": about, "unpruned macs": lab.graph.macs})


def _checked_recipes(given: Mapping[str, Recipe | str] | None, epochs: int) -> dict[str, Recipe]:
    """The recipes, none of which chooses among epochs, if each has a name and steps that M epochs can cover."""
    given = RECIPES if given is None else given
    if not isinstance(given, Mapping) or not given:
        raise BadInput(
            f"recipes must map names to recipes, at least one. Received: {shown(given)}. Write recipes={{'mine': kt.Recipe()}}."
        )
    found = {str(name): replace(recipe_for(recipe), keep_best=False) for name, recipe in given.items()}
    for recipe in found.values():
        check_schedule(recipe.schedule, epochs)
    return found


def _checked_optimizer(given: Any) -> Any:
    """The optimizer, if it is one."""
    if not isinstance(given, keras.optimizers.Optimizer):
        raise BadInput(
            f"optimizer must be a keras optimizer. Received: {shown(given)}. Write optimizer=keras.optimizers.SGD(0.1)."
        )
    return given


def _counted(lab: Lab) -> int:
    """How many epochs the optimizer has seen, by the updates that it counted."""
    updates = int(inner_optimizer(lab.model.optimizer).iterations)
    if not updates:
        raise BadInput(
            f"epochs_before must be given where the optimizer counted no updates. Received: None, and {lab.model.name!r}, "
            "compiled after its training, or never trained. Train it first, and pass the number of epochs: epochs_before=20."
        )
    return max(math.floor(updates / math.ceil(len(lab.x) / lab.batch_size) + 0.5), 1)
