"""Initialisers, regularisers and constraints of a weight that gets smaller: what they hold for each channel is cut along."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from keras_taylor._keras.compilation import Cut, apply_cut
from keras_taylor.errors import warn
from keras_taylor.rules import Keep, Step

_KINDS = ("_initializer", "_regularizer", "_constraint")


def fitting_options(step: Step, keep: Keep, cuts: Mapping[int, Cut]) -> dict[str, Any]:
    """Entries of the config that have to be others where the weights that they are for get smaller.

    Arrays within them that line up with the weight, as NumPy broadcasts, are cut as it is. What still does not work on the
    smaller weight goes: an initialiser without a word (weights are copied anyway), the others with a warning.

    Args:
        step: the call whose operation is made again.
        keep: a boolean per label.
        cuts: for the id of each weight, the positions that stay along its axes.
    """
    operation, changes = step.call.operation, {}
    for entry, option in vars(operation).items():
        if option is None or not entry.endswith(_KINDS):
            continue
        shape, cut = _what_it_is_for(step, keep, cuts, entry)
        if not cut:
            continue
        kept = dict(cut)
        smaller = tuple(len(kept[axis]) if axis in kept else length for axis, length in enumerate(shape))
        fitted = _cut_arrays(option, shape, cut)
        if fitted is option and type(option).__module__.startswith("keras."):
            continue
        if _works(fitted, entry, smaller):
            changes.update({entry: fitted} if fitted is not option else {})
        elif entry.endswith("_initializer"):
            changes[entry] = "zeros"
        else:
            changes[entry] = None
            warn(
                f"The {entry} of layer {step.call.name!r} does not work on the smaller shape {smaller}, so the rebuilt layer "
                f"has none. Received: {type(option).__name__}, made for {shape}. Set one for the channels that are left."
            )
    return changes


def _what_it_is_for(step: Step, keep: Keep, cuts: Mapping[int, Cut], entry: str) -> tuple[tuple[int, ...], Cut]:
    """The shape of the weight that an option is for (of the outputs, with two examples) and how it is cut."""
    if entry == "activity_regularizer":
        labels, shape = step.outputs[0], tuple(d or 2 for d in step.call.outputs[0].shape)
        gone = labels.axis is not None and not keep[labels.ids].all()
        return shape, ((labels.axis, labels.kept(keep)),) if labels.axis is not None and gone else ()
    name = entry.rpartition("_")[0]
    weight = next((w for n in (name, f"{name}_kernel") if (w := getattr(step.call.operation, n, None)) is not None), None)
    return tuple(getattr(weight, "shape", ())), cuts.get(id(weight), ())


def _cut_arrays(option: Any, shape: tuple[int, ...], cut: Cut) -> Any:
    """A copy of the option with its arrays cut; the option itself where it has none that run along what is cut."""
    cutted = {name: found for name, value in _attributes(option) if (found := _cut_array(value, shape, cut)) is not None}
    if not cutted:
        return option
    fitted = copy.copy(option)
    for name, value in cutted.items():
        setattr(fitted, name, value)
    return fitted


def _attributes(option: Any) -> list[tuple[str, Any]]:
    # Axes are numbers, too, but of no channels.
    return [(name, value) for name, value in getattr(option, "__dict__", {}).items() if name not in ("axis", "axes", "shape")]


def _cut_array(value: Any, shape: tuple[int, ...], cut: Cut) -> Any:
    if isinstance(value, (str, bytes, dict)) or not (isinstance(value, (list, tuple)) or hasattr(value, "shape")):
        return None
    try:
        array = np.asarray(keras.ops.convert_to_numpy(value))
    except (TypeError, ValueError):
        return None
    lead = len(shape) - array.ndim
    fits = lead >= 0 and array.dtype.kind in "fiub" and all(n in (1, m) for n, m in zip(array.shape, shape[lead:], strict=True))
    own = tuple((axis - lead, kept) for axis, kept in cut if axis >= lead and array.shape[axis - lead] > 1) if fits else ()
    if not own:
        return None
    smaller = apply_cut(array, own)
    return type(value)(smaller.tolist()) if isinstance(value, (list, tuple)) else smaller


def _works(option: Any, entry: str, shape: tuple[int, ...]) -> bool:
    try:
        if entry.endswith("_initializer"):
            return tuple(option(shape, dtype="float32").shape) == shape
        result = option(keras.ops.ones(shape))
        return not entry.endswith("_constraint") or tuple(result.shape) == shape
    except Exception:  # whatever the user's own class raises
        return False
