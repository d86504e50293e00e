"""Arguments that several verbs have, and how settings written on the command line are read."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

__all__ = [
    "Address",
    "AsFormat",
    "Folder",
    "Format",
    "Overrides",
    "Sweep",
    "read_assignments",
    "read_pairs",
    "sweep_words",
]


class Format(StrEnum):
    """What is printed to stdout."""

    TABLE = "table"
    JSON = "json"


Sweep = Annotated[Path, typer.Argument(metavar="SWEEP", help="The sweep file.")]
Folder = Annotated[Path, typer.Argument(metavar="DIR", help="A results folder.")]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="A.B=VALUE", help="Replace a setting of the sweep file."),
]
AsFormat = Annotated[Format, typer.Option("--format", help="A table to read, or JSON.")]
Address = Annotated[
    str | None,
    typer.Option(
        help="Address of a running Ray cluster, such as auto or 10.0.0.1:6379; none: this machine."
    ),
]


def sweep_words(sweep: Path, overrides: Iterable[str]) -> str:
    """A sweep file and the settings replaced in it, as a command that is advised names them."""
    return shlex.join([str(sweep), *(word for text in overrides for word in ("--set", text))])


def read_assignments(texts: Iterable[str]) -> dict[str, Any]:
    """Settings written as ``key=value``, the values read as YAML."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    found = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not key.strip() or not equals or not value.strip():
            raise typer.BadParameter(f'received "{text}"; allowed: key=value')
        try:
            found[key.strip()] = YAML(typ="safe", pure=True).load(value)
        except YAMLError:
            raise typer.BadParameter(f'received "{text}"; the value is not valid') from None
    return found


def read_pairs(texts: Iterable[str], *, separator: str | None = ",") -> Iterator[tuple[str, str]]:
    """Names with what is written after their ``=``, as text.

    Args:
        texts: As given, each one pair or several.
        separator: What stands between several; None where each text is one pair.
    """
    for text in texts:
        for part in [text] if separator is None else text.split(separator):
            key, equals, value = (piece.strip() for piece in part.partition("="))
            if not key or not equals or not value:
                raise typer.BadParameter(f'received "{part}"; allowed: key=value')
            yield key, value
