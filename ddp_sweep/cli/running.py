"""Verbs that run a sweep or watch it: run, status."""

from __future__ import annotations

import os
import shlex
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from ddp_sweep.cli.arguments import Address, AsFormat, Folder, Format, Overrides, Sweep
from ddp_sweep.cli.printing import print_json, show_ranking, stdout, warn
from ddp_sweep.cli.watching import Progress, watching
from ddp_sweep.cluster.submission import RESUME_VARIABLE
from ddp_sweep.shown_text import shown

__all__ = ["Only", "resume_command", "run", "status"]


class Only(StrEnum):
    """Which configurations a run adds to."""

    UNDECIDED = "undecided"
    FAILED = "failed"


def run(
    sweep: Sweep,
    output: Annotated[
        Path | None, typer.Option(help="Results folder; results/<name> if not given.")
    ] = None,
    overrides: Overrides = None,
    address: Address = None,
    progress: Annotated[
        Progress,
        typer.Option(
            help="On stderr. rich: a view that is redrawn; plain: one line a trial; json: one "
            "object a line; auto: rich on a terminal, else plain."
        ),
    ] = Progress.AUTO,
    more_seeds: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Add N fresh seeds to a sweep that is done."),
    ] = None,
    only: Annotated[
        Only | None,
        typer.Option(
            help="undecided: the fresh seeds are for configurations whose quality is not yet "
            "known. failed: run trials that failed anew."
        ),
    ] = None,
    extend: Annotated[
        bool, typer.Option("--extend", help="Accept configurations added to the sweep file.")
    ] = False,
    accept_code_change: Annotated[
        bool,
        typer.Option("--accept-code-change", help="Accept a change of the workload's source."),
    ] = False,
) -> None:
    """Run the trials of a sweep that have no result yet, then rank the configurations."""
    from ddp_sweep.cluster.driver.agenda import Additions
    from ddp_sweep.spec import load_spec

    additions = Additions(
        more_seeds=more_seeds,
        only=None if only is None else only.value,
        extend=extend,
        accept_code_change=accept_code_change,
    )
    spec = load_spec(sweep, overrides or ())
    from ddp_sweep.cluster.driver.sweep import run_sweep  # takes a second: Ray

    with watching(progress) as observer:
        outcome = run_sweep(
            spec,
            output=output or Path("results") / spec.name,
            address=address,
            progress="none" if progress is Progress.NONE else "plain",
            observer=observer,
            additions=additions,
            resume_command=os.environ.get(RESUME_VARIABLE) or resume_command(),
        )
        print(shown(outcome.message), file=sys.stderr)
        if outcome.ranking is None:
            print(shown(f"no ranking: {outcome.no_ranking_because}"), file=sys.stderr)
        else:
            show_ranking(outcome.ranking)
        raise typer.Exit(outcome.exit_code)


def resume_command() -> str:
    """The command that finishes what this one began: the same, but that it adds no more seeds.

    The configurations that an extension added are in the folder's own sweep file by then.
    """
    words, kept = iter(sys.argv[1:]), ["ddp-sweep"]
    for word in words:
        name, equals, value = word.partition("=")
        if name in ("--more-seeds", "--only"):
            value = value if equals else next(words, "")
            if name == "--only" and value == Only.FAILED:
                kept += [name, value]
        elif word != "--extend":
            kept.append(word)
    return shlex.join(kept)


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
