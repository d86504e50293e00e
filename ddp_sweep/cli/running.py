"""Verbs that run a sweep or watch it: run, status."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from ddp_sweep.cli.arguments import Address, AsFormat, Folder, Format, Sweep
from ddp_sweep.cli.printing import print_json, show_ranking, stdout, warn
from ddp_sweep.cli.watching import Progress, watching
from ddp_sweep.errors import DdpSweepError

__all__ = ["run", "status"]


def run(
    sweep: Sweep,
    output: Annotated[
        Path | None, typer.Option(help="Results folder; results/<name> if not given.")
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="A.B=VALUE", help="Replace a setting of the sweep file."),
    ] = None,
    address: Address = None,
    progress: Annotated[
        Progress,
        typer.Option(
            help="On stderr. rich: a view that is redrawn; plain: one line a trial; json: one "
            "object a line; auto: rich on a terminal, else plain."
        ),
    ] = Progress.AUTO,
) -> None:
    """Run the trials of a sweep that have no result yet, then rank the configurations."""
    from ddp_sweep.analysis import rank
    from ddp_sweep.cluster.sweep import run_sweep
    from ddp_sweep.spec import load_spec

    spec = load_spec(sweep, overrides or ())
    folder = output or Path("results") / spec.name
    with watching(progress) as observer:
        outcome = run_sweep(
            spec,
            output=folder,
            address=address,
            progress="none" if progress is Progress.NONE else "plain",
            observer=observer,
            resume_command=shlex.join(["ddp-sweep", *sys.argv[1:]]),
        )
        print(outcome.message, file=sys.stderr)
        try:
            show_ranking(rank(_from_here(outcome.folder)))
        except DdpSweepError as error:  # such as: no trial has ended yet
            print(f"no ranking: {error}", file=sys.stderr)
        raise typer.Exit(outcome.exit_code)


def status(folder: Folder, output_format: AsFormat = Format.TABLE) -> None:
    """Count the trials of a results folder by status, and say what is left to run."""
    from ddp_sweep.report.run_status import print_status, run_status
    from ddp_sweep.results import ResultsFolder

    # Curves of single steps are large and have no part in this.
    results = ResultsFolder(folder).read(("trials", "evals"))
    warn(results.problems)
    found = run_status(results)
    if output_format is Format.JSON:
        print_json(found.to_json())
    else:
        print_status(found, stdout())


def _from_here(path: Path) -> Path:
    """A path as one would type it here."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path
