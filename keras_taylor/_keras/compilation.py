"""Carry the compilation of a model over to a smaller one: loss, metrics, and an optimizer with its slots."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from keras_taylor._keras.model import compile_options
from keras_taylor.errors import warn

Cut = tuple[tuple[int, NDArray[np.intp]], ...]
Twins = Mapping[int, tuple[Any, Any, Cut]]


def apply_cut(value: NDArray[Any], cut: Cut) -> NDArray[Any]:
    """Keep the given positions along each of the given axes."""
    for axis, kept in cut:
        value = value.take(kept, axis)
    return value


def carry_compilation(model: Any, small: Any, twins: Twins) -> None:
    """Compile `small` as `model` is compiled.

    Losses are shared (they have no state), metrics and the optimizer are made again from their configs. If the optimizer has
    been used, its state is copied, and the slots of every weight (its momentum, for example) are cut like the weight.

    Args:
        model: the original; nothing happens if it is not compiled.
        small: the model to compile.
        twins: for the id of each weight of `model`: the weight, that of `small`, and the cut that made one of the other.
    """
    if not getattr(model, "compiled", False):
        return
    config = compile_options(model)
    try:
        # What is there now, not what `compile` was given: Keras wraps it where the loss is scaled.
        config["optimizer"] = from_own_config(model.optimizer)
        config["auto_scale_loss"] = isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)
        for entry in ("metrics", "weighted_metrics"):
            config[entry] = keras.tree.map_structure(
                lambda one: from_own_config(one) if isinstance(one, keras.metrics.Metric) else one, config[entry]
            )
        small.compile(**config)
    except (TypeError, ValueError, NotImplementedError, AttributeError) as error:
        warn(
            f"The rebuilt model is not compiled: the compilation of {model.name!r} could not be made again from configs "
            f"({error}). Call compile() on it."
        )
        return
    if model.optimizer is not None and model.optimizer.built:
        _carry_slots(model.optimizer, small.optimizer, twins)


def inner_optimizer(optimizer: Any) -> Any:
    """The optimizer itself, or the one inside it where it scales the loss."""
    return getattr(optimizer, "inner_optimizer", optimizer)


def restart_averages(model: Any) -> None:
    """Let the averages of weights that an optimizer with `use_ema` keeps begin at the weights that are there now.

    Weights that something else than the optimizer has changed are no continuation of those that it averaged.
    """
    optimizer = inner_optimizer(getattr(model, "optimizer", None))
    averages = getattr(optimizer, "_model_variables_moving_average", None)
    for average, variable in zip(averages or (), getattr(optimizer, "_trainable_variables", ()), strict=False):
        average.assign(variable)


def restart_optimizer(model: Any) -> None:
    """Let the optimizer of a compiled model begin anew, for another loss, unless its rate follows a schedule.

    Averages of squared gradients that are left from a loss that had been learnt would make steps for another one huge.
    """
    optimizer = inner_optimizer(model.optimizer)
    if not optimizer.built or not isinstance(optimizer._learning_rate, keras.Variable):
        return
    fresh = from_own_config(optimizer)
    fresh.build(optimizer._trainable_variables)
    for mine, new in zip(optimizer.variables, fresh.variables, strict=True):
        if mine is not optimizer._learning_rate:
            mine.assign(new)
    restart_averages(model)


def from_own_config(thing: Any) -> Any:
    """A new object with the config of `thing`; None and names stay as they are."""
    if thing is None or isinstance(thing, str):
        return thing
    return type(thing).from_config(thing.get_config())


def _carry_slots(old: Any, new: Any, twins: Twins) -> None:
    inner_old, inner_new = inner_optimizer(old), inner_optimizer(new)
    if any(id(variable) not in twins for variable in inner_old._trainable_variables):
        return  # compiled for other variables than the model's own; it starts afresh
    cuts = {id(twins[id(v)][1]): twins[id(v)][2] for v in inner_old._trainable_variables}
    reference: dict[int, Any] = {}
    add = inner_new.add_variable_from_reference

    def noted(reference_variable: Any, *args: Any, **kwargs: Any) -> Any:
        slot = add(reference_variable, *args, **kwargs)
        reference[id(slot)] = reference_variable
        return slot

    # Built on the twins in the old order, both optimizers list their variables in the same order.
    inner_new.add_variable_from_reference = noted
    try:
        new.build([twins[id(v)][1] for v in inner_old._trainable_variables])
    finally:
        del inner_new.add_variable_from_reference
    for before, after in zip(old.variables, new.variables, strict=True):
        cut = cuts[id(reference[id(after)])] if id(after) in reference else ()
        value = before.numpy()
        value = value if value.shape == tuple(after.shape) else apply_cut(value, cut)
        if value.shape == tuple(after.shape):  # a slot of another shape (Adafactor's) starts afresh
            after.assign(value)
