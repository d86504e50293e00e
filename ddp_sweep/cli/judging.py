"""The verb that judges results: rank."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from ddp_sweep.cli.arguments import read_assignments, read_pairs
from ddp_sweep.cli.printing import show_ranking

if TYPE_CHECKING:
    from ddp_sweep.report.export import TextFormat

__all__ = ["rank_configurations"]

NO_CONFIGURATION_QUALIFIES = 4
"""Exit code of ``rank --strict`` where nothing is recommended."""


class RankFormat(StrEnum):
    """What ``rank`` prints to stdout."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"
    MARKDOWN = "markdown"


def rank_configurations(
    source: Annotated[
        Path,
        typer.Argument(metavar="DIR|FILE", help="A results folder, or a Parquet or CSV table."),
    ],
    baseline: Annotated[
        str | None,
        typer.Option(metavar="K=V,K=V", help="The configuration to compare with."),
    ] = None,
    margin: Annotated[
        list[str] | None,
        typer.Option(metavar="METRIC=VALUE", help="The most that may be lost of a metric."),
    ] = None,
    target: Annotated[
        str | None,
        typer.Option(metavar="METRIC=VALUE", help="The quality that ends the clock."),
    ] = None,
    columns: Annotated[
        list[str] | None,
        typer.Option(
            metavar="OURS=THEIRS,...",
            help="What a table of another tool calls our columns; may be repeated.",
        ),
    ] = None,
    where: Annotated[
        list[str] | None,
        typer.Option(
            metavar="COLUMN=VALUE",
            help="Rank only rows with this value; repeat it for more columns or values.",
        ),
    ] = None,
    pair_by: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMN",
            help="Compare runs of another tool one by one where they share this, such as seed.",
        ),
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit with 4 where nothing is recommended.")
    ] = False,
    output_format: Annotated[
        RankFormat, typer.Option("--format", help="A table to read, or text for others to use.")
    ] = RankFormat.TABLE,
) -> None:
    """Rank configurations by speed among those whose quality held."""
    from ddp_sweep.analysis import RecommendationStatus, rank
    from ddp_sweep.report.export import write

    ranking = rank(
        source,
        baseline=None if baseline is None else read_assignments(baseline.split(",")),
        margins=read_assignments(margin) if margin else None,
        target=None if target is None else read_assignments([target]),
        columns=_once(read_pairs(columns or ())),
        where=_together(read_pairs(where or (), separator=None)),
        pair_by=pair_by,
    )
    if output_format is RankFormat.TABLE:
        show_ranking(ranking)
    else:
        write(ranking, cast("TextFormat", output_format.value), sys.stdout)
    if strict and ranking.recommendation.status is RecommendationStatus.NONE:
        raise typer.Exit(NO_CONFIGURATION_QUALIFIES)


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
