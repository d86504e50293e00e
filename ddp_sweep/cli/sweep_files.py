"""Verbs that read a sweep file and start nothing: validate, plan."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from ddp_sweep.cli.arguments import Address, AsFormat, Format, Sweep
from ddp_sweep.cli.printing import print_json, stdout

if TYPE_CHECKING:
    from ddp_sweep.spec import Json, SweepSpec

__all__ = ["plan", "validate"]


def validate(sweep: Sweep) -> None:
    """Check a sweep file, and say how many trials it asks for."""
    from ddp_sweep.plan import count_trials
    from ddp_sweep.spec import load_spec

    spec = load_spec(sweep)
    trials, seeds = count_trials(spec), len(spec.seeds)
    print(f"{sweep} is valid: {trials} trials, {trials // seeds} configurations x {seeds} seeds")


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
        print_json(plan_to_json(planned))
    else:
        print_plan(planned, spec, stdout())


def _capacity(spec: SweepSpec, address: str | None) -> int | None:
    """Workers that can run at once; without a cluster what the sweep file says, if anything."""
    if address is None:
        return spec.resources.max_workers
    from ddp_sweep.cluster.capacity import connect

    with connect(address, spec) as connection:
        return connection.capacity
