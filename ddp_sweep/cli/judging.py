"""The verb that judges results: rank."""

from __future__ import annotations

import sys
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, cast

import typer

from ddp_sweep.cli.arguments import (
    Baseline,
    Columns,
    Margins,
    PairBy,
    Source,
    Target,
    Where,
    read_question,
)
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
    source: Source,
    baseline: Baseline = None,
    margin: Margins = None,
    target: Target = None,
    columns: Columns = None,
    where: Where = None,
    pair_by: PairBy = None,
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

    question = read_question(
        baseline=baseline,
        margin=margin,
        target=target,
        columns=columns,
        where=where,
        pair_by=pair_by,
    )
    ranking = rank(source, **question)
    if output_format is RankFormat.TABLE:
        show_ranking(ranking)
    else:
        write(ranking, cast("TextFormat", output_format.value), sys.stdout)
    if strict and ranking.recommendation.status is RecommendationStatus.NONE:
        raise typer.Exit(NO_CONFIGURATION_QUALIFIES)
