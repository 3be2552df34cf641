"""Where rules are found."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from keras_taylor.errors import warn
from keras_taylor.rules._base import LayerRule
from keras_taylor.rules._overrides import overridden

_REGISTRY: dict[type, LayerRule] = {}
_RENAMED = {"straight": "linear_pieces", "legacy": "tf_keras_form", "legacy_scale": "tf_keras_scale"}
"""Names that rules of the release before may still use."""

_Rule = TypeVar("_Rule", bound=type[LayerRule])


def register_rule(*operations: type) -> Callable[[_Rule], _Rule]:
    """Class decorator: the rule serves these operation classes (layers, or classes behind `keras.ops`).

    Subclasses are served too as long as they override nothing that `call` uses.
    """

    def register(rule: _Rule) -> _Rule:
        for old, new in _RENAMED.items():
            if hasattr(rule, old):
                warn(f"{old} of a layer rule is called {new} now. Rename it in {rule.__name__}.", DeprecationWarning)
                setattr(rule, new, getattr(rule, old))
        instance = rule()
        _REGISTRY.update(dict.fromkeys(operations, instance))
        return rule

    return register


def registered() -> dict[type, LayerRule]:
    """A copy of the registry: operation class -> rule."""
    return dict(_REGISTRY)


def rule_for(operation: Any) -> tuple[LayerRule | None, str]:
    """The rule that serves `operation`, or None and the reason why there is none."""
    kind = type(operation)
    served = next((base for base in kind.__mro__ if base in _REGISTRY), None)
    if served is None:
        return None, "has no rule"
    changed = overridden(operation, served)
    if changed:
        what = f"the call of {served.__name__}"
        what = what if changed == "call" else f"{changed}, which {what} uses,"
        return None, f"overrides {what} and has no rule of its own"
    rule = _REGISTRY[served]
    owned = {id(getattr(operation, name)) for name in rule.weight_axes(operation)}
    if any(id(weight) not in owned for weight in getattr(operation, "weights", ())):
        return None, "has weights that its rule does not name"
    return rule, ""
