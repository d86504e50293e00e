"""The verb that makes a page of results: report."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

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

__all__ = ["report"]


def report(
    source: Source,
    output: Annotated[
        Path | None,
        typer.Option(help="The HTML file; report.html in the folder, or beside the table."),
    ] = None,
    plots: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Write each chart there as SVG and PNG, for papers."),
    ] = None,
    baseline: Baseline = None,
    margin: Margins = None,
    target: Target = None,
    columns: Columns = None,
    where: Where = None,
    pair_by: PairBy = None,
) -> None:
    """Write one HTML page with the answer, its evidence and every measurement."""
    from ddp_sweep.report.page import build_report

    question = read_question(
        baseline=baseline,
        margin=margin,
        target=target,
        columns=columns,
        where=where,
        pair_by=pair_by,
    )
    made = build_report(source, **question)
    file = output or _default_output(source)
    made.write(file)
    print(file)
    if plots is not None:
        written = made.write_plots(plots)
        print(f"{len(written)} pictures in {plots}", file=sys.stderr)


def _default_output(source: Path) -> Path:
    if source.is_dir():
        return source / "report.html"
    return source.with_name(f"{source.stem}-report.html")
