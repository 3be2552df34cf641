"""What an operation uses without Keras knowing: variables and layers behind its functions, arguments and plain objects."""

from __future__ import annotations

import dis
import functools
import sys
import weakref
from collections.abc import Iterator, Mapping
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import keras

from keras_taylor._keras.model import layers_of
from keras_taylor._keras.program import Call
from keras_taylor.rules._overrides import closed_over

_LIBRARIES = frozenset(("keras", "tensorflow", "tf_keras", "numpy"))
"""What lies inside their objects is not the user's, or is tracked."""
_KNOWN = _LIBRARIES | sys.stdlib_module_names
_MOST = 1000
"""Longer containers hold data, not layers."""
_LEAVES = frozenset((str, bytes, int, float, complex, bool, type(None)))
_WRAPPED = ("build", "quantize")
"""Methods that Keras wraps for itself in every layer."""


def captured_variables(call: Call) -> Iterator[Any]:
    """Variables that a call can reach other than as weights of its operation, and those of layers that it can reach.

    Followed are closures, default arguments, globals that a function reads, `functools.partial`, bound methods, lists,
    dictionaries, weak references, and attributes of objects of the user's classes.
    """
    operation = call.operation
    layers = layers_of(operation) if isinstance(operation, keras.Layer) else [operation]
    starts = [value for layer in layers for name, value in vars(layer).items() if name not in _WRAPPED]
    kinds: set[Any] = {type(layer) for layer in layers}
    methods = [value for kind in kinds for value in _methods(kind)]
    own, seen = {id(layer) for layer in layers}, set[int]()
    waiting = [*keras.tree.flatten((call.args, call.kwargs)), *starts, *methods]
    while waiting:
        thing = waiting.pop()
        if type(thing) in _LEAVES or id(thing) in seen or id(thing) in own:
            continue
        seen.add(id(thing))
        if isinstance(thing, keras.Variable):
            yield thing
        elif isinstance(thing, keras.Layer):
            yield from thing.weights
        else:
            waiting += _inside(thing)


def _inside(thing: Any) -> list[Any]:
    """What a plain object leads to in one step."""
    if isinstance(thing, FunctionType):
        cells = closed_over(thing)
        if _root(thing) in _KNOWN:
            return cells  # a decorator's, around a function of the user's
        defaults = [*(thing.__defaults__ or ()), *(thing.__kwdefaults__ or {}).values()]
        return [*cells, *defaults, *(thing.__globals__.get(name) for name in _globals_read(thing.__code__))]
    if isinstance(thing, MethodType):
        return [thing.__self__, thing.__func__]
    if isinstance(thing, functools.partial):
        return [thing.func, *thing.args, *thing.keywords.values()]
    if isinstance(thing, (classmethod, staticmethod)):
        return [thing.__func__]
    if isinstance(thing, property):
        return [thing.fget, thing.fset]
    if isinstance(thing, weakref.ref):
        return [thing()]
    if isinstance(thing, Mapping):
        return list(thing.values()) if len(thing) <= _MOST else []
    if isinstance(thing, (list, tuple, set, frozenset)):
        return list(thing) if len(thing) <= _MOST else []
    if isinstance(thing, (type, ModuleType)):
        return []
    if _root(type(thing)) in _LIBRARIES:
        return [getattr(thing, "python_function", None)]  # of a tf.function
    kind: Any = type(thing)
    return [*getattr(thing, "__dict__", {}).values(), *_methods(kind)]


@functools.cache
def _methods(kind: Any) -> tuple[Any, ...]:
    """What the user's classes define, of a class and its bases."""
    return tuple(value for base in kind.__mro__ if _root(base) not in _KNOWN for value in vars(base).values())


@functools.cache
def _globals_read(code: CodeType) -> frozenset[str]:
    names = {found.argval for found in dis.get_instructions(code) if found.opname in ("LOAD_GLOBAL", "LOAD_NAME")}
    return frozenset(names.union(*(_globals_read(inner) for inner in code.co_consts if isinstance(inner, CodeType))))


def _root(thing: Any) -> str:
    return str(thing.__module__ or "").partition(".")[0]
