"""Which operations a rebuild can make again, found out before any work: by their configs, and by whose weights they use."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from keras_taylor._keras.members import members, variable_paths, weights_of
from keras_taylor._keras.program import Call
from keras_taylor._keras.trial import is_of_keras, is_plain, why_not_made_again
from keras_taylor._trace.captured import captured_variables
from keras_taylor.rules import Keep, Labeller, LayerRule, LockReason, Step
from keras_taylor.rules._overrides import patched


@dataclass(frozen=True, eq=False)
class Copies:
    """What a rebuild may expect of copies.

    Attributes:
        whole: operations that cannot be made again, by id, and why. A rebuilt model uses the original's, as they are.
        sharing: for every operation that uses weights of another one, by id: the name of the other one.
        tied: ids of the variables, and of the layers around them, that several operations use.
    """

    whole: Mapping[int, str]
    sharing: Mapping[int, str]
    tied: frozenset[int]


def try_copies(steps: Sequence[Step]) -> Copies:
    """Make the operations again, one by one, and throw the copies away.

    What is Keras' own in all its parts needs no trial. An operation without a rule, and without weights of others, is left for
    later: its channels are locked anyway.
    """
    first: dict[int, Step] = {}
    for step in steps:
        first.setdefault(id(step.call.operation), step)
    groups, tied, captured = _sharing([step.call for step in first.values()])
    names = {key: step.call.name for key, step in first.items()}
    sharing = {key: names[next(other for other in group if other != key)] for group in groups for key in group}
    whole = {key: why for key, step in first.items() if (why := _why_whole(step, key in sharing, tied))}
    whole |= {key: f"uses the weights of {sharing[key]} through a function or an argument" for key in captured}
    for group in groups:
        for key in group if any(key in whole for key in group) else ():
            whole.setdefault(key, f"shares weights with {next(names[one] for one in group if one in whole)}, which stays whole")
    return Copies(whole, sharing, frozenset(tied))


def lock_copies(copies: Copies, steps: Sequence[Step], labels: Labeller) -> None:
    """Lock what runs along weights that several operations use, and all that an operation touches that stays whole."""
    for step in steps:
        call, key = step.call, id(step.call.operation)
        if key in copies.sharing:
            why = f"shares weights with {copies.sharing[key]}, which must stay as they are for both"
            for ids in step.axes.values():
                labels.lock(ids, why, LockReason.TIED, call)
        if key in copies.whole and (step.axes or weights_of(call.operation) or _configured(step.rule)):
            for ids in (*step.axes.values(), *(one.ids for one in (*step.inputs, *step.outputs))):
                labels.lock(ids, copies.whole[key], LockReason.CONFIG, call)


def _why_whole(step: Step, shares: bool, tied: Mapping[int, Any]) -> str:
    call, operation = step.call, step.call.operation
    ruled, own = type(step.rule) is not LayerRule, patched(operation)
    if own:
        return f"has a {own} of its own, which its config does not tell"
    if not shares and (not ruled or is_plain(operation)):
        return ""
    if not isinstance(operation, keras.Layer):
        return why_not_made_again(call, tied, {}, build=False) if _configured(step.rule) else ""
    foreign = not is_of_keras(operation)
    changes = step.rule.remake(step, _all_kept(step)).config if foreign and ruled else {}
    doubled = {entry: 2 * value for entry, value in changes.items() if isinstance(value, int)}
    return why_not_made_again(call, tied, doubled, build=foreign or shares)


def _all_kept(step: Step) -> Keep:
    labels = [ids for ids in (*step.axes.values(), *(one.ids for one in (*step.inputs, *step.outputs))) if len(ids)]
    return np.ones(1 + max((int(ids.max()) for ids in labels), default=-1), bool)


def _configured(rule: LayerRule) -> bool:
    """Whether a rule makes its operations again with another config or other arguments."""
    return bool(rule.config) or type(rule).remake is not LayerRule.remake


def _sharing(calls: Sequence[Call]) -> tuple[list[set[int]], dict[int, Any], set[int]]:
    """Operations that use one variable, in groups; what is shared, by id; and those that no config tells of their sharing."""
    users: dict[int, list[int]] = {}
    captured: dict[int, set[int]] = {}
    things: dict[int, Any] = {}
    for call in calls:
        key, weights = id(call.operation), weights_of(call.operation)
        own = {*map(id, weights), *variable_paths(call.operation)}
        seen = {id(variable) for variable in captured_variables(call)} - own
        captured[key] = seen
        things.update((id(weight), weight) for weight in weights)
        for variable in own | seen:
            users.setdefault(variable, []).append(key)
    shared = {variable: keys for variable, keys in users.items() if len(keys) > 1 and variable in things}
    groups: list[set[int]] = []
    for keys in shared.values():
        touching = [group for group in groups if group & {*keys}]
        groups = [group for group in groups if not group & {*keys}] + [{*keys}.union(*touching)]
    tied = {variable: things[variable] for variable in shared}
    operations = {id(call.operation): call.operation for call in calls}
    for group in groups:
        inside = [operations[key] for key in group] + [m.value for key in group for m in members(operations[key])]
        tied.update((id(one), one) for one in inside if any(id(weight) in shared for weight in weights_of(one)))
    return groups, tied, {key for group in groups for key in group if captured[key] & shared.keys()}
