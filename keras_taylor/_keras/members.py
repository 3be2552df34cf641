"""The variables and layers inside a layer, each with the path under which Keras' own saving finds it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import takewhile
from typing import Any

import keras

from keras_taylor._keras.program import functional


@dataclass(frozen=True, eq=False)
class Member:
    """A place inside a layer where a variable or another layer stands.

    Attributes:
        path: attribute names, positions in lists and keys of dictionaries, such as `"blocks/0/conv/_kernel"`.
        value: the variable or the layer.
        owner: the layer that tracks it.
        holder: what it stands in: the owner, or a list or a dictionary of the owner's.
        key: the attribute, position or key.
    """

    path: str
    value: Any
    owner: Any
    holder: Any
    key: Any


def members(operation: Any) -> Iterator[Member]:
    """Every place of a variable or a layer inside `operation`, sorted; a layer is entered where it is met first."""
    if isinstance(operation, keras.layers.Layer):
        yield from _within(operation, "", {id(operation)})


def variable_paths(operation: Any) -> dict[int, str]:
    """The first path of every variable, by its id."""
    found: dict[int, str] = {}
    for member in members(operation):
        if isinstance(member.value, keras.Variable):
            found.setdefault(id(member.value), member.path)
    return found


def weights_of(operation: Any) -> list[Any]:
    """The weights of a layer; an operation that is no layer has none."""
    return list(getattr(operation, "weights", ()))


def matched(operation: Any, copy: Any) -> list[tuple[Any, Any]] | None:
    """The weights of a layer and those of its copy, in pairs; None where it is not certain which belong together.

    They belong together where their paths in the layer are the same, and their names do not say otherwise. Weights without a
    path (Keras finds them in no attribute) go by their order if no two have the same shape.
    """
    old, new = weights_of(operation), weights_of(copy)
    if len(old) != len(new):
        return None
    paths, others = variable_paths(operation), variable_paths(copy)
    there = {others[id(weight)]: weight for weight in new if id(weight) in others}
    if len(there) == len(new) and {paths.get(id(weight)) for weight in old} == there.keys():
        pairs = [(weight, there[paths[id(weight)]]) for weight in old]
        return pairs if _names_agree(pairs) else None
    shapes = [tuple(weight.shape) for weight in old]
    ranks = [len(shape) for shape in shapes]
    return list(zip(old, new, strict=True)) if len({*shapes}) == len(old) and ranks == [len(w.shape) for w in new] else None


def retie(operation: Any, copy: Any, twins: Mapping[int, Any]) -> bool:
    """Let `copy` hold one object wherever `operation` holds one, that of `twins` where there is one.

    Args:
        operation: the original layer.
        copy: made from its config, which repeats a layer that the original holds in two places, or shares with another layer.
        twins: for the id of a variable or layer of the original model, what stands for it in the copy of the model.

    Returns:
        Whether that is so of every variable now; a place that does not exist (yet) does not count.
    """
    places, chosen = {member.path: member for member in members(copy)}, dict(twins)
    old = [member for member in members(operation) if member.path in places]
    for member in old:
        place = places[member.path]
        if chosen.setdefault(id(member.value), place.value) is not place.value:
            _put(place, chosen[id(member.value)])
    now = {member.path: member.value for member in members(copy) if isinstance(member.value, keras.Variable)}
    return all(now[member.path] is chosen[id(member.value)] for member in old if member.path in now)


def _names_agree(pairs: list[tuple[Any, Any]]) -> bool:
    """False if both sides have the same names, and pair them otherwise: then lists were filled in another order."""
    old, new = (_short([pair[side].path for pair in pairs]) for side in (0, 1))
    return old == new or len({*old}) < len(old) or {*old} != {*new}


def _short(paths: list[str]) -> list[tuple[str, ...]]:
    """Paths without the parts in front that all of them have."""
    parts = [tuple(path.split("/")) for path in paths]
    same = len(list(takewhile(lambda level: len({*level}) == 1, zip(*(one[:-1] for one in parts), strict=False))))
    return [one[same:] for one in parts]


def _within(layer: Any, path: str, entered: set[int]) -> Iterator[Member]:
    held = {name: value for name, value in vars(layer).items() if name not in _bookkeeping()}
    if functional(layer) is not None:  # its state comes first, as in Keras: attributes of a subclass may repeat it
        yield from _in_container(layer, {"layers": tuple(layer.layers)}, path, entered, None)
    yield from _in_container(layer, held, path, entered, layer)


def _in_container(owner: Any, content: Mapping[Any, Any], path: str, entered: set[int], holder: Any) -> Iterator[Member]:
    for key in sorted(content, key=lambda key: (isinstance(key, str), key if isinstance(key, (str, int)) else 0)):
        value, inner = content[key], f"{path}{key}"
        if isinstance(value, keras.Variable):
            yield Member(inner, value, owner, holder, key)
        elif isinstance(value, keras.layers.Layer):
            yield Member(inner, value, owner, holder, key)
            if id(value) not in entered:
                entered.add(id(value))
                yield from _within(value, f"{inner}/", entered)
        elif isinstance(value, (list, tuple)):
            yield from _in_container(owner, dict(enumerate(value)), f"{inner}/", entered, value)
        elif isinstance(value, dict):
            yield from _in_container(owner, value, f"{inner}/", entered, value)


@cache
def _bookkeeping() -> frozenset[str]:
    """What every layer and every functional model has: Keras' own lists of what stands in the other attributes."""
    symbolic = keras.Input((1,), name="bookkeeping")
    layer, model = keras.layers.Layer(name="bookkeeping"), keras.Model(symbolic, symbolic, name="bookkeeping")
    sequential = keras.Sequential([keras.Input((1,), name="bookkeeping")], name="bookkeeping")
    return frozenset({*vars(layer), *vars(model), *vars(sequential)})


def _put(place: Member, value: Any) -> None:
    """Let `value` stand in a place that can be filled, and let the owner track it where it tracked what stood there before."""
    if not isinstance(place.holder, (keras.layers.Layer, list, dict)):
        return
    tracker = place.owner._tracker
    for name, (_, store) in tracker.config.items():
        if id(place.value) in tracker.stored_ids[name]:
            position = next(i for i, one in enumerate(store) if one is place.value)
            store[position : position + 1] = [] if id(value) in tracker.stored_ids[name] else [value]
            tracker.stored_ids[name] ^= {id(place.value)}
            tracker.stored_ids[name].add(id(value))
    if place.holder is place.owner:
        setattr(place.holder, place.key, value)
    else:
        place.holder[place.key] = value
