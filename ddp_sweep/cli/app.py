"""The program ``ddp-sweep``: its verbs, its version, and how an error ends it."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from ddp_sweep import __version__
from ddp_sweep.cli import (
    examining,
    judging,
    logs,
    reporting,
    running,
    starting,
    submitting,
    sweep_files,
    trying,
)
from ddp_sweep.cli.printing import plain_warnings
from ddp_sweep.errors import DdpSweepError
from ddp_sweep.shown_text import harmless

__all__ = ["app", "main"]

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="How many workers and which batch size train a PyTorch model fastest without losing "
    "quality.",
)
# In the order in which one uses them.
app.command()(starting.init)
app.command()(sweep_files.validate)
app.command(name="try")(trying.try_workload)
app.command()(sweep_files.plan)
app.command()(running.run)
app.command()(submitting.submit)
app.command()(running.status)
app.command()(logs.logs)
app.command(name="rank")(judging.rank_configurations)
app.command()(reporting.report)
app.command()(examining.doctor)


def main() -> None:
    """Run the command line and leave with its exit code; a user's error is one message."""
    try:
        with plain_warnings():
            app()
    except DdpSweepError as error:
        # It may quote what a workload has raised.
        print(f"error: {harmless(str(error))}", file=sys.stderr)
        sys.exit(error.exit_code)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(__version__)
        raise typer.Exit


@app.callback()
def _options_of_all_verbs(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Print it."),
    ] = False,
) -> None:
    pass
