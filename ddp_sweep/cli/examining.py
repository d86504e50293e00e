"""The verb that looks at a machine or a cluster before a sweep does: doctor."""

from __future__ import annotations

import functools
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ddp_sweep.cli.arguments import Address, AsFormat, Format, Overrides
from ddp_sweep.cli.printing import print_json, stdout

if TYPE_CHECKING:
    from ddp_sweep.cluster.doctor.examination import Asked

__all__ = ["doctor"]


def doctor(
    sweep: Annotated[
        Path | None,
        typer.Argument(metavar="[SWEEP]", help="A sweep that is to run; its needs are checked."),
    ] = None,
    address: Address = None,
    output: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Results folder to try; as `run` would take if none."),
    ] = None,
    overrides: Overrides = None,
    output_format: AsFormat = Format.TABLE,
) -> None:
    """Look for what would make a sweep fail, hang or mislead, on this machine or a cluster."""
    from ddp_sweep.checkup import Gravity, find_problems

    asked = _asked(sweep, output, overrides or [])
    from ddp_sweep.cluster.doctor.examination import examine  # takes a second: Ray
    from ddp_sweep.report.checkup_view import checkup_to_json, print_checkup

    facts = examine(address, asked, functools.partial(print, "...", file=sys.stderr, flush=True))
    problems = find_problems(facts)
    if output_format is Format.JSON:
        print_json(checkup_to_json(facts, problems))
    else:
        print_checkup(facts, problems, stdout())
    if any(problem.gravity is Gravity.PROBLEM for problem in problems):
        raise typer.Exit(1)


def _asked(sweep: Path | None, output: Path | None, overrides: list[str]) -> Asked:
    from ddp_sweep.cluster.doctor.examination import Asked
    from ddp_sweep.spec import load_spec

    if sweep is None:
        return Asked(folder=output or Path("results"))
    spec = load_spec(sweep, overrides)
    return Asked(
        folder=output or Path("results") / spec.name,
        largest_world_size=max(spec.sweep.world_size),
        cpus_per_worker=spec.resources.cpus_per_worker,
        use_gpus=spec.resources.device != "cpu",
    )
