"""A YAML file as plain values, and the line on which each of them stands."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, SequenceNode

from ddp_sweep.errors import SpecError, SpecProblem

__all__ = ["OVERRIDE", "KeyPath", "Places", "dotted", "override", "read_document"]

KeyPath = tuple[str | int, ...]
"""Where a value stands in a sweep file: keys, and positions in lists."""

OVERRIDE = "--set"
"""What stands for the file's name where a value came from the command line."""

_WHOLE_KEY_BELOW = ("sweep", "baseline")
"""Sections whose keys may hold a dot themselves: ``workload_options.x``."""


def dotted(path: KeyPath) -> str:
    """A path as users write it.

    Examples:
        >>> dotted(("sweep", "world_size", 1))
        'sweep.world_size[1]'
    """
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}"
    return text.removeprefix(".")


@dataclass
class Places:
    """File and line of every value of a sweep file."""

    file: str | None = None
    lines: dict[KeyPath, int] = field(default_factory=dict)
    overridden: set[KeyPath] = field(default_factory=set)

    def find(self, path: KeyPath) -> tuple[str | None, int | None]:
        """File and line of a value or, if it stands nowhere, of what should hold it."""
        for end in range(len(path), -1, -1):
            if path[:end] in self.overridden:
                return OVERRIDE, None
            if path[:end] in self.lines:
                return self.file, self.lines[path[:end]]
        return self.file, None

    def override(self, path: KeyPath) -> None:
        """Note that the value at ``path`` now comes from the command line."""
        self.overridden.add(path)
        for inside in [known for known in self.lines if known[: len(path)] == path]:
            del self.lines[inside]

    def problem(self, path: KeyPath, message: str) -> SpecProblem:
        """A problem with the value at ``path``."""
        file, line = self.find(path)
        return SpecProblem(key=dotted(path), message=message, file=file, line=line)


def read_document(path: Path) -> tuple[dict[str, Any], Places, list[SpecProblem]]:
    """Read a sweep file.

    Returns:
        Its values, their places, and the duplicate keys found; of duplicates the first counts.

    Raises:
        SpecError: The file cannot be read, is not YAML, or is not a mapping.
    """
    file = str(path)
    text = _read_text(path)
    try:
        root = YAML(typ="safe", pure=True).compose(text)
        loader = YAML(typ="safe", pure=True)
        loader.allow_duplicate_keys = True
        values = loader.load(text)
    except YAMLError as error:
        raise SpecError([_yaml_problem(error, file)]) from None
    if values is None:
        raise SpecError([SpecProblem(key="", message="the file is empty", file=file)])
    if not isinstance(values, dict):
        message = f"received a {type(values).__name__}; allowed: a mapping of keys to values"
        raise SpecError([SpecProblem(key="", message=message, file=file, line=1)])
    places = Places(file=file)
    duplicates = list(_scan(root, (), places, set()))
    return values, places, duplicates


def override(values: dict[str, Any], places: Places, assignment: str) -> list[SpecProblem]:
    """Put one ``a.b=value`` into the values of a sweep file; the value is read as YAML.

    Returns:
        What is wrong with the assignment; empty if it was made.
    """
    name, equals, text = assignment.partition("=")
    path = _override_path(name.strip())
    if not equals or not all(path):
        message = f'received "{assignment}"; allowed: key=value, such as training.epochs=8'
        return [SpecProblem(key="", message=message, file=OVERRIDE)]
    try:
        value = YAML(typ="safe", pure=True).load(text)
    except YAMLError as error:
        return [_yaml_problem(error, OVERRIDE, key=name)]
    section = values
    for end, key in enumerate(path[:-1], start=1):
        if section.get(key) is None:
            section[key] = {}
            places.override(path[:end])
        if not isinstance(section[key], dict):
            message = f"{dotted(path[:end])} holds a single value, no keys"
            return [SpecProblem(key=name, message=message, file=OVERRIDE)]
        section = section[key]
    section[path[-1]] = value
    places.override(path)
    return []


def _override_path(name: str) -> tuple[str, ...]:
    section, _, rest = name.partition(".")
    if section in _WHOLE_KEY_BELOW and rest:
        return section, rest
    return tuple(name.split("."))


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except IsADirectoryError:
        message = "this is a folder; give the sweep file in it"
    except UnicodeDecodeError:
        message = "this is not a text file in UTF-8"
    except OSError as error:
        message = f"cannot read the file: {error.strerror}"
    raise SpecError([SpecProblem(key="", message=message, file=str(path))]) from None


def _yaml_problem(error: YAMLError, file: str, key: str = "") -> SpecProblem:
    if not isinstance(error, MarkedYAMLError):
        first_line = str(error).splitlines()[0]
        return SpecProblem(key=key, message=f"not valid YAML: {first_line}", file=file)
    mark = error.problem_mark or error.context_mark
    words = " ".join(part for part in (error.context, error.problem) if part)
    line = mark.line + 1 if mark is not None and file != OVERRIDE else None
    return SpecProblem(key=key, message=f"not valid YAML: {words}", file=file, line=line)


def _scan(node: Node, path: KeyPath, places: Places, above: set[int]) -> Iterator[SpecProblem]:
    """Note the line of everything below ``node``; yield duplicate keys."""
    if id(node) in above:
        raise SpecError([places.problem(path, "this alias stands for what it is part of")])
    above = above | {id(node)}
    if isinstance(node, SequenceNode):
        for at, item in enumerate(node.value):
            places.lines.setdefault((*path, at), item.start_mark.line + 1)
            yield from _scan(item, (*path, at), places, above)
    elif isinstance(node, MappingNode):
        seen: dict[str, int] = {}
        for key_node, value in node.value:
            key, line = str(key_node.value), key_node.start_mark.line + 1
            if key in seen:
                message = f"this key stands twice, first on line {seen[key]}; remove one"
                yield SpecProblem(
                    key=dotted((*path, key)), message=message, file=places.file, line=line
                )
                continue
            seen[key] = line
            places.lines.setdefault((*path, key), line)
            yield from _scan(value, (*path, key), places, above)
