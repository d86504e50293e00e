"""A hash of code that has no source file, such as a class in a notebook cell."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Iterator
from types import CodeType, FunctionType
from typing import Any

__all__ = ["compiled_digest"]


def compiled_digest(made: type | FunctionType) -> str:
    """12 hex digits of the bytecode of a class or function, and of what it calls beside it.

    Followed are functions and classes of the same module; data they refer to are not looked at.
    The same code has the same digest in another process of the same Python.
    """
    digest = hashlib.sha256()
    for part in _parts(made, set()):
        digest.update(repr(part).encode())
    return digest.hexdigest()[:12]


def _parts(made: Any, seen: set[int]) -> Iterator[object]:  # noqa: ANN401
    if id(made) in seen:
        return
    seen.add(id(made))
    if isinstance(made, type):
        yield from _of_class(made, seen)
    elif isinstance(function := inspect.unwrap(made), FunctionType):
        yield from _of_function(function, seen)


def _of_class(made: type, seen: set[int]) -> Iterator[object]:
    for base in made.__bases__:
        if base.__module__ == made.__module__:
            yield from _parts(base, seen)
    for name, member in sorted(vars(made).items()):
        function = getattr(member, "__func__", member)
        if callable(function):
            yield name
            yield from _parts(function, seen)
        elif not name.startswith("__"):
            yield name, _plain(member)


def _of_function(function: FunctionType, seen: set[int]) -> Iterator[object]:
    yield from _of_code(function.__code__)
    yield _plain(function.__defaults__), _plain(function.__kwdefaults__)
    for name in sorted(_names(function.__code__)):
        used = function.__globals__.get(name)
        if callable(used) and getattr(used, "__module__", None) == function.__module__:
            yield from _parts(used, seen)


def _of_code(code: CodeType) -> Iterator[object]:
    yield code.co_code, code.co_names, code.co_varnames
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _of_code(constant)
        else:
            yield _plain(constant)


def _names(code: CodeType) -> set[str]:
    inner = [_names(one) for one in code.co_consts if isinstance(one, CodeType)]
    return set(code.co_names).union(*inner)


def _plain(value: Any) -> object:  # noqa: ANN401
    """A value as it is where its text is the same in every process; else its type."""
    if isinstance(value, frozenset | set):
        return sorted(map(repr, value))
    if isinstance(value, tuple | list):
        return [_plain(one) for one in value]
    if value is None or isinstance(value, bool | int | float | complex | str | bytes):
        return value
    text = repr(value)
    return type(value).__qualname__ if " at 0x" in text else text
