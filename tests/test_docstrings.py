"""Docstrings as `help()` and an API page show them: every argument says something by itself."""

import inspect
import re

import pytest

import keras_taylor as kt

_ENTRY = re.compile(r"^ {4}(\w+): (.*?)(?=^ {4}\w|\Z)", re.M | re.S)
# An entry that ends like this goes on in the next one, or begins in the one before.
_OPEN = re.compile(r"(\b(and|or|as are|as for|as is|the same|of|the)|,)\s*$")
_TELEGRAM = re.compile(r"^(as there|see above|ditto|and|the same)\.?$", re.I)


def public():
    """Every public function and class, and the methods that a class of ours defines and documents."""
    spaces = [kt, *(getattr(kt, name) for name in kt.__all__ if inspect.ismodule(getattr(kt, name)))]
    found = {}
    for space in spaces:
        for name in space.__all__ if hasattr(space, "__all__") else ():
            thing = getattr(space, name)
            if inspect.isfunction(thing) or inspect.isclass(thing):
                found[f"{thing.__module__}.{thing.__qualname__}"] = thing
                if inspect.isclass(thing):
                    found |= {
                        f"{thing.__module__}.{method.__qualname__}": method
                        for key, method in vars(thing).items()
                        if inspect.isfunction(method) and not key.startswith("_")
                    }
    return found


PUBLIC = public()


def sections(docstring):
    """The text of each section (Args, Attributes, ...) of a Google docstring."""
    parts = re.split(r"^(Args|Attributes|Returns|Raises|Example|References|Yields):\n", inspect.cleandoc(docstring), flags=re.M)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


@pytest.mark.parametrize("name", sorted(PUBLIC))
def test_every_entry_stands_by_itself(name):
    found = sections(PUBLIC[name].__doc__ or "")
    for section in ("Args", "Attributes"):
        for argument, text in _ENTRY.findall(found.get(section, "")):
            first = text.strip()
            assert first and not _OPEN.search(first) and not _TELEGRAM.match(first), f"{name}: {argument}: {first!r}"


@pytest.mark.parametrize("name", sorted(name for name, thing in PUBLIC.items() if inspect.isfunction(thing)))
def test_every_argument_is_described(name):
    function = PUBLIC[name]
    found = sections(function.__doc__ or "")
    if "Args" not in found:
        return
    described = [argument for argument, _ in _ENTRY.findall(found["Args"])]
    given = [argument for argument in inspect.signature(function).parameters if argument not in ("self", "cls", "kwargs")]
    assert described == given, name


def test_the_test_can_fail():
    text = sections("One line.\n\nArgs:\n    loss: used instead of the compiled one, as are\n    optimizer: and\n")["Args"]
    assert [bool(_OPEN.search(entry) or _TELEGRAM.match(entry.strip())) for _, entry in _ENTRY.findall(text)] == [True, True]
