"""A hash of the code of one class or function, for those that have no file to themselves.

A class of a notebook cell has no source file; one of a script shares it with the call that starts
the sweep, and a change of that call is no change of the workload.
"""

from __future__ import annotations

import dataclasses
import dis
import functools
import hashlib
import inspect
import math
from argparse import Namespace
from collections.abc import Collection, Iterable, Iterator, Mapping
from types import CodeType, FunctionType, ModuleType
from typing import Any

__all__ = ["compiled_digest"]

_MOST_NUMBERS = 10_000
"""Of an array or tensor that counts by its values, as class weights do; a data set is larger."""
_FOLLOWED = (type, FunctionType, Mapping, tuple, list, set, frozenset)


def compiled_digest(made: type | FunctionType) -> str:
    """12 hex digits of the bytecode of a class or function, and of what it refers to.

    Followed are functions and classes of the same module, and the constants of that module or of
    an enclosing function; those of other modules count by their names. The same code has the same
    digest in another process of the same Python.
    """
    digest = hashlib.sha256()
    for part in _parts(made, made.__module__, {}):
        digest.update(repr(part).encode())
    return digest.hexdigest()[:12]


def _parts(value: Any, module: str, seen: dict[int, object]) -> Iterator[object]:  # noqa: ANN401
    """What tells a value from another one; nothing where it was met before."""
    if isinstance(value, property):
        value = (value.fget, value.fset)
    elif isinstance(value, functools.cached_property):
        value = value.func
    elif isinstance(value, functools.partial):
        value = (value.func, value.args, value.keywords)
    elif callable(value) and not isinstance(value, type):
        value = inspect.unwrap(value)
    known = isinstance(value, _FOLLOWED) or dataclasses.is_dataclass(value)
    if not known and type(value).__module__ != module:
        yield _plain(value)
    elif id(value) not in seen:
        seen[id(value)] = value  # kept, so that no later one has its number
        yield from _inside(value, module, seen)


def _inside(value: Any, module: str, seen: dict[int, object]) -> Iterator[object]:  # noqa: ANN401
    if isinstance(value, type | FunctionType):
        if value.__module__ != module:
            yield value.__module__, value.__qualname__
        elif isinstance(value, type):
            yield from _of_class(value, seen)
        else:
            yield from _of_function(value, seen)
    elif isinstance(value, Collection) and len(value) > _MOST_NUMBERS:
        yield type(value).__qualname__, len(value)
    elif isinstance(value, set | frozenset):  # their order differs between processes
        yield sorted(repr(list(_parts(one, module, seen))) for one in value)
    elif isinstance(value, Mapping):
        yield from _named(value.items(), module, seen)
    elif isinstance(value, tuple | list):
        yield from _named(enumerate(value), module, seen)
    else:  # a dataclass of any module, or an object of a class of this one
        yield from _parts(type(value), module, seen)
        yield from _named(sorted(getattr(value, "__dict__", {}).items()), module, seen)


def _named(
    items: Iterable[tuple[Any, Any]], module: str, seen: dict[int, object]
) -> Iterator[object]:
    for name, value in items:
        yield _plain(name)
        yield from _parts(value, module, seen)


def _of_class(made: type, seen: dict[int, object]) -> Iterator[object]:
    yield from _named(enumerate(made.__bases__), made.__module__, seen)
    for name, member in sorted(vars(made).items()):
        function = getattr(member, "__func__", member)
        if callable(function) or not name.startswith("__"):
            yield name
            yield from _parts(function, made.__module__, seen)


def _of_function(function: FunctionType, seen: dict[int, object]) -> Iterator[object]:
    yield from _of_code(function.__code__)
    referred = {
        name: function.__globals__[name]
        for name in sorted(_global_names(function.__code__))
        if name in function.__globals__ and not name.startswith("__")
    }
    around = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
    enclosed = {name: cell.cell_contents for name, cell in around if _is_filled(cell)}
    defaults = {"": function.__defaults__, **(function.__kwdefaults__ or {})}
    for names in (defaults, enclosed, referred):
        yield from _named(names.items(), function.__module__, seen)


def _is_filled(cell: Any) -> bool:  # noqa: ANN401 - types.CellType says nothing of its contents
    try:
        return cell.cell_contents is not cell
    except ValueError:  # of a name that gets its value later
        return False


def _of_code(code: CodeType) -> Iterator[object]:
    yield code.co_code, code.co_names, code.co_varnames
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _of_code(constant)
        else:
            yield _constant(constant)


def _constant(value: object) -> object:
    if isinstance(value, frozenset):
        return sorted(map(repr, value))
    return tuple(map(_constant, value)) if isinstance(value, tuple) else value


def _global_names(code: CodeType) -> set[str]:
    """Names that are looked up in the module; attributes of the same name are none of them."""
    own = {
        step.argval
        for step in dis.get_instructions(code)
        if step.opname == "LOAD_NAME" or "GLOBAL" in step.opname
    }
    inner = [_global_names(one) for one in code.co_consts if isinstance(one, CodeType)]
    return own.union(*inner)


def _plain(value: Any) -> object:  # noqa: ANN401
    """A value as it is where its text is the same in every process; else its type."""
    try:
        return _text(value)
    except Exception:  # noqa: BLE001 - a user's object may refuse to be looked at
        return type(value).__qualname__


def _text(value: Any) -> object:  # noqa: ANN401
    if isinstance(value, ModuleType):
        return value.__name__  # its text names the file, which differs between machines
    if isinstance(value, Namespace):  # of the command line, no part of the code
        return type(value).__qualname__
    if value is None or isinstance(value, bool | int | float | complex | str | bytes):
        return value
    if hasattr(value, "tolist") and math.prod(getattr(value, "shape", ())) <= _MOST_NUMBERS:
        return value.tolist()
    if hasattr(value, "shape"):
        return type(value).__qualname__, tuple(value.shape)
    text = repr(value)
    return type(value).__qualname__ if " at 0x" in text else text
