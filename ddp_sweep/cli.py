"""The command line: each verb reads its arguments, calls one function and prints the outcome.

Modules are imported inside the verbs, so that ``validate`` and ``rank`` start without torch and
Ray. Data goes to stdout, everything else to stderr.
"""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Iterable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer
from rich.console import Console

from ddp_sweep import __version__
from ddp_sweep.errors import DdpSweepError

if TYPE_CHECKING:
    from ddp_sweep.analysis import Ranking
    from ddp_sweep.report.export import TextFormat
    from ddp_sweep.spec import Json, SweepSpec

__all__ = ["app", "main"]

NO_CONFIGURATION_QUALIFIES = 4
"""Exit code of ``rank --strict`` where nothing is recommended."""

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="How many workers and which batch size train a PyTorch model fastest without losing "
    "quality.",
)


class Format(StrEnum):
    """What is printed to stdout."""

    TABLE = "table"
    JSON = "json"


class RankFormat(StrEnum):
    """What ``rank`` prints to stdout."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"
    MARKDOWN = "markdown"


class Progress(StrEnum):
    """What ``run`` prints to stderr while it works."""

    AUTO = "auto"
    PLAIN = "plain"
    NONE = "none"


Sweep = Annotated[Path, typer.Argument(metavar="SWEEP", help="The sweep file.")]
Folder = Annotated[Path, typer.Argument(metavar="DIR", help="A results folder.")]
AsFormat = Annotated[Format, typer.Option("--format", help="A table to read, or JSON.")]
Address = Annotated[
    str | None,
    typer.Option(
        help="Address of a running Ray cluster, such as auto or 10.0.0.1:6379; none: this machine."
    ),
]


def main() -> None:
    """Run the command line and leave with its exit code; a user's error is one message."""
    try:
        app()
    except DdpSweepError as error:
        print(f"error: {error}", file=sys.stderr)
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


@app.command()
def validate(sweep: Sweep) -> None:
    """Check a sweep file, and say how many trials it asks for."""
    from ddp_sweep.plan import count_trials
    from ddp_sweep.spec import load_spec

    spec = load_spec(sweep)
    trials, seeds = count_trials(spec), len(spec.seeds)
    print(f"{sweep} is valid: {trials} trials, {trials // seeds} configurations x {seeds} seeds")


@app.command()
def plan(sweep: Sweep, address: Address = None, output_format: AsFormat = Format.TABLE) -> None:
    """Show the trials of a sweep in order, and those that cannot run; starts none of them."""
    from ddp_sweep.plan import build_plan
    from ddp_sweep.report.plan_table import plan_to_json, print_plan
    from ddp_sweep.spec import load_spec
    from ddp_sweep.training.inspection import inspect_for
    from ddp_sweep.workload import load_workload

    spec = load_spec(sweep)
    workload = load_workload(spec.workload, spec.base_dir)

    def train_length(options: Mapping[str, Json]) -> int:
        return inspect_for(spec, workload, options).train_samples

    planned = build_plan(spec, capacity=_capacity(spec, address), train_lengths=train_length)
    if output_format is Format.JSON:
        _print_json(plan_to_json(planned))
    else:
        print_plan(planned, spec, _stdout())


@app.command()
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
        Progress, typer.Option(help="auto and plain: one line a trial, on stderr.")
    ] = Progress.AUTO,
) -> None:
    """Run the trials of a sweep that have no result yet, then rank the configurations."""
    from ddp_sweep.analysis import rank
    from ddp_sweep.cluster.sweep import run_sweep
    from ddp_sweep.spec import load_spec

    spec = load_spec(sweep, overrides or ())
    folder = output or Path("results") / spec.name
    outcome = run_sweep(
        spec,
        output=folder,
        address=address,
        progress=progress.value,
        resume_command=shlex.join(["ddp-sweep", *sys.argv[1:]]),
    )
    print(outcome.message, file=sys.stderr)
    try:
        _print_ranking(rank(_from_here(outcome.folder)))
    except DdpSweepError as error:  # such as: no trial has ended yet
        print(f"no ranking: {error}", file=sys.stderr)
    raise typer.Exit(outcome.exit_code)


@app.command()
def status(folder: Folder, output_format: AsFormat = Format.TABLE) -> None:
    """Count the trials of a results folder by status, and say what is left to run."""
    from ddp_sweep.report.run_status import print_status, run_status
    from ddp_sweep.results import ResultsFolder

    results = ResultsFolder(folder).read()
    _warn(results.problems)
    found = run_status(results)
    if output_format is Format.JSON:
        _print_json(found.to_json())
    else:
        print_status(found, _stdout())


@app.command(name="rank")
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
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit with 4 where nothing is recommended.")
    ] = False,
    output_format: Annotated[
        RankFormat, typer.Option("--format", help="A table to read, or text for others to use.")
    ] = RankFormat.TABLE,
) -> None:
    """Rank configurations by speed among those whose quality held."""
    from ddp_sweep.analysis import RecommendationStatus, rank
    from ddp_sweep.report.export import render

    ranking = rank(
        source,
        baseline=None if baseline is None else _assignments(baseline.split(",")),
        margins=_assignments(margin) if margin else None,
        target=None if target is None else _assignments([target]),
    )
    if output_format is RankFormat.TABLE:
        _print_ranking(ranking)
    else:
        print(render(ranking, cast("TextFormat", output_format.value)))
    if strict and ranking.recommendation.status is RecommendationStatus.NONE:
        raise typer.Exit(NO_CONFIGURATION_QUALIFIES)


def _capacity(spec: SweepSpec, address: str | None) -> int | None:
    """Workers that can run at once; without a cluster what the sweep file says, if anything."""
    if address is None:
        return spec.resources.max_workers
    from ddp_sweep.cluster.capacity import connect

    with connect(address, spec) as connection:
        return connection.capacity


def _assignments(texts: Iterable[str]) -> dict[str, Any]:
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


def _print_ranking(ranking: Ranking) -> None:
    from ddp_sweep.report.terminal import print_ranking

    print_ranking(ranking, _stdout())


def _from_here(path: Path) -> Path:
    """A path as one would type it here."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


def _print_json(value: object) -> None:
    print(json.dumps(value, indent=2, allow_nan=False))


def _stdout() -> Console:
    return Console(highlight=False)


def _warn(problems: Iterable[str]) -> None:
    for problem in problems:
        print(f"warning: {problem}", file=sys.stderr)
