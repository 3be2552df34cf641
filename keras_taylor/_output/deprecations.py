"""Arguments and attributes that have another name now: the old one works for one release, with a warning."""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from keras_taylor.errors import BadInput, warn

_P = ParamSpec("_P")
_R = TypeVar("_R")
_Class = TypeVar("_Class", bound=type)


def renamed(**names: str) -> Callable[[Callable[_P, _R]], Callable[_P, _R]]:
    """Decorator: the function still takes these arguments under their old names, as `old="new"`.

    Raises:
        BadInput: both names are given.

    Example:
        >>> import warnings
        >>> @renamed(data="x")
        ... def count(x): return len(x)
        >>> with warnings.catch_warnings():
        ...     warnings.simplefilter("ignore")
        ...     count(data=[1, 2])
        2
    """

    def decorate(function: Callable[_P, _R]) -> Callable[_P, _R]:
        order = list(inspect.signature(function).parameters)

        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> _R:
            for old, new in names.items():
                if old in kwargs:
                    if new in kwargs or order.index(new) < len(args):
                        raise BadInput(f"{old} of {function.__name__} is called {new} now. Received: both. Pass {new} alone.")
                    warn(f"{old}= of {function.__name__} is called {new}= now.", DeprecationWarning)
                    kwargs[new] = kwargs.pop(old)
            return function(*args, **kwargs)

        return call

    return decorate


def gathered(into: str, value: type) -> Callable[[Callable[_P, _R]], Callable[_P, _R]]:
    """Decorator: the fields of the dataclass `value` may still be given one by one, in the place of the argument `into`.

    Raises:
        BadInput: some of them are given beside `into`.
    """
    names = [entry.name for entry in dataclasses.fields(value)]

    def decorate(function: Callable[_P, _R]) -> Callable[_P, _R]:
        own = inspect.signature(function).parameters

        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> _R:
            given = {name: kwargs.pop(name) for name in names if name in kwargs and name not in own}
            if given:
                spelled = f"{into}=kt.{value.__name__}({', '.join(f'{name}=...' for name in given)})"
                if kwargs.get(into) is not None:
                    raise BadInput(
                        f"{function.__name__} takes {', '.join(given)} in {into} now. Received: both. Write {spelled}."
                    )
                warn(f"{function.__name__} takes {', '.join(given)} in one value now: {spelled}.", DeprecationWarning)
                kwargs[into] = value(**given)
            return function(*args, **kwargs)

        return call

    return decorate


def renamed_attributes(**names: str) -> Callable[[_Class], _Class]:
    """Class decorator: these attributes can still be read under their old names, as `old="new"`.

    A decorator, so that an old name such as `bytes` does not hide the builtin in the body of the class.

    Example:
        >>> import warnings
        >>> @renamed_attributes(bytes="size")
        ... class File:
        ...     size = 3
        >>> with warnings.catch_warnings():
        ...     warnings.simplefilter("ignore")
        ...     File().bytes
        3
    """

    def decorate(kind: _Class) -> _Class:
        for old, new in names.items():
            setattr(kind, old, property(functools.partial(_read, old=old, new=new)))
        return kind

    return decorate


def _read(given: Any, old: str, new: str) -> Any:
    warn(f".{old} of {type(given).__name__} is called .{new} now.", DeprecationWarning)
    return getattr(given, new)
