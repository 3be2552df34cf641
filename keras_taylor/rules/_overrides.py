"""What a subclass, or a patched instance, changes of what its base's `call` uses."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from functools import cache
from types import CellType, CodeType, FunctionType
from typing import Any

_HARMLESS = frozenset(
    "__init__ __doc__ __module__ build quantize get_config compute_output_shape compute_output_spec compute_mask "
    "supports_masking".split()
)
"""What `__call__` uses, too, but not to compute: weights are compared apart, and shapes are taken from the traced model."""

_METHODS = (FunctionType, property, classmethod, staticmethod)

_LOOK_UP = frozenset({"__getattr__", "__getattribute__"})
"""What decides about every attribute."""


def overridden(operation: Any, served: type) -> str:
    """The first attribute that `served` computes with and `operation` has otherwise; an empty string where there is none.

    Args:
        operation: an instance of `served` or of a subclass.
        served: the class that a rule was written for.
    """
    kind = type(operation)
    if "call" in _defined_before(kind, served):  # what it uses in turn is beside the point
        return "call"
    used, own = _used(served), vars(operation)
    changed = {name for name in _defined_before(kind, served) & used if name not in own or _wins(kind, name)}
    changed |= {name for name in own.keys() & used if inspect.isroutine(getattr(kind, name, None))}
    parts = ((base, name, vars(base)[name]) for base in served.__mro__ for name in vars(base).keys() & used)
    changed |= _foreign(tuple(part for part in parts if isinstance(part[2], _METHODS)))
    return min(changed, default="")


def patched(operation: Any) -> str:
    """The first method that this instance alone has otherwise than its class, which no config tells of; or an empty string."""
    kind = type(operation)
    own = (name for name in vars(operation) if name not in _HARMLESS and not name.startswith("__"))
    return min((name for name in own if inspect.isfunction(getattr(kind, name, None))), default="")


def _defined_before(kind: type, served: type) -> set[str]:
    """Names in the bodies of the classes that come before `served` where Python looks attributes up."""
    before = kind.__mro__[: kind.__mro__.index(served)]
    return {name for base in before for name in vars(base)}


@cache
def _used(served: type) -> frozenset[str]:
    """Every name that `call` and `__call__` of a class mention, and the methods and properties among them in turn."""
    found: set[str] = set()
    waiting = ["call", "__call__"]
    while waiting:
        name = waiting.pop()
        if name in found or name in _HARMLESS:
            continue
        found.add(name)
        for base in served.__mro__:
            for function in _functions(vars(base).get(name)):
                waiting += _names(function)
    return frozenset(found | _LOOK_UP)


def _names(function: FunctionType) -> Iterator[str]:
    """The names in the code of a function, in functions within it, and in helpers of its own module that it calls."""
    todo, seen = [function.__code__], {function.__code__}
    while todo:
        code = todo.pop()
        # A string may be the name of an attribute: getattr(self, "kernel").
        yield from (*code.co_names, *(const for const in code.co_consts if isinstance(const, str) and const.isidentifier()))
        helpers = (function.__globals__.get(name) for name in code.co_names)
        near = [helper.__code__ for helper in helpers if isinstance(helper, FunctionType) and _is_near(helper, function)]
        inner = [const for const in code.co_consts if isinstance(const, CodeType)]
        todo += [one for one in (*inner, *near) if one not in seen]
        seen.update(todo)


def _is_near(helper: FunctionType, function: FunctionType) -> bool:
    return helper.__module__ == function.__module__


def _functions(attribute: Any) -> list[FunctionType]:
    """The Python functions behind a method or property, those that decorators wrap included."""
    if isinstance(attribute, property):
        return [found for part in (attribute.fget, attribute.fset) for found in _functions(part)]
    if isinstance(attribute, (classmethod, staticmethod)):
        return _functions(attribute.__func__)
    if not isinstance(attribute, FunctionType):
        return []
    inner = [one for one in closed_over(attribute) if isinstance(one, FunctionType) and one is not attribute]
    return [attribute, *(found for one in inner for found in _functions(one))]


def closed_over(function: FunctionType) -> list[Any]:
    """What a function holds in its closure; an empty cell belongs to a name that is not bound yet."""
    return [cell.cell_contents for cell in function.__closure__ or () if cell != CellType()]


@cache
def _foreign(parts: tuple[tuple[type, str, Any], ...]) -> frozenset[str]:
    """The names of methods that come from another package than their class: somebody has patched the class."""
    return frozenset(name for kind, name, attribute in parts if not _homes(attribute) <= {kind.__module__.partition(".")[0]})


def _homes(attribute: Any) -> set[str]:
    return {function.__module__.partition(".")[0] for function in _functions(attribute)[:1]}


def _wins(kind: type, name: str) -> bool:
    """Whether an attribute of the class comes before one of the instance, as properties do."""
    return hasattr(type(inspect.getattr_static(kind, name)), "__set__")
