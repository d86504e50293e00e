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
    "Baseline",
    "Columns",
    "Folder",
    "Format",
    "Margins",
    "Overrides",
    "PairBy",
    "Source",
    "Sweep",
    "Target",
    "Where",
    "read_assignments",
    "read_question",
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

# What `rank` and `report` are asked.
Source = Annotated[
    Path,
    typer.Argument(metavar="DIR|FILE", help="A results folder, or a Parquet or CSV table."),
]
Baseline = Annotated[
    str | None,
    typer.Option("--baseline", metavar="K=V,K=V", help="The configuration to compare with."),
]
Margins = Annotated[
    list[str] | None,
    typer.Option(
        "--margin", metavar="METRIC=VALUE", help="The most that may be lost of a metric."
    ),
]
Target = Annotated[
    str | None,
    typer.Option("--target", metavar="METRIC=VALUE", help="The quality that ends the clock."),
]
Columns = Annotated[
    list[str] | None,
    typer.Option(
        "--columns",
        metavar="OURS=THEIRS,...",
        help="What a table of another tool calls our columns; may be repeated.",
    ),
]
Where = Annotated[
    list[str] | None,
    typer.Option(
        "--where",
        metavar="COLUMN=VALUE",
        help="Rank only rows with this value; repeat it for more columns or values.",
    ),
]
PairBy = Annotated[
    str | None,
    typer.Option(
        "--pair-by",
        metavar="COLUMN",
        help="Compare runs of another tool one by one where they share this, such as seed.",
    ),
]


def read_question(
    *,
    baseline: str | None,
    margin: Iterable[str] | None,
    target: str | None,
    columns: Iterable[str] | None,
    where: Iterable[str] | None,
    pair_by: str | None,
) -> dict[str, Any]:
    """What `ddp_sweep.rank` is asked, as its arguments, from what was written."""
    return {
        "baseline": None if baseline is None else read_assignments(baseline.split(",")),
        "margins": read_assignments(margin) if margin else None,
        "target": None if target is None else read_assignments([target]),
        "columns": _once(_read_pairs(columns or ())),
        "where": _together(_read_pairs(where or (), separator=None)),
        "pair_by": pair_by,
    }


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


def _read_pairs(texts: Iterable[str], *, separator: str | None = ",") -> Iterator[tuple[str, str]]:
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


def _once(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    found: dict[str, str] = {}
    for key, value in pairs:
        if key in found:
            raise typer.BadParameter(
                f'columns: "{key}" is given as "{found[key]}" and as "{value}"; give it once'
            )
        found[key] = value
    return found


def _together(pairs: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """Values by column; the values of one column are alternatives."""
    found: dict[str, list[str]] = {}
    for key, value in pairs:
        found.setdefault(key, []).append(value)
    return found
