"""Verbs that read a sweep file and start nothing: validate, plan."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ddp_sweep.cli.arguments import Address, AsFormat, Format, Overrides, Sweep, sweep_words
from ddp_sweep.cli.printing import print_json, stdout, warn

if TYPE_CHECKING:
    from ddp_sweep.plan import Trial
    from ddp_sweep.spec import SweepSpec

__all__ = ["plan", "validate"]


def validate(sweep: Sweep) -> None:
    """Check a sweep file, and say how many trials it asks for."""
    from ddp_sweep.plan import count_trials
    from ddp_sweep.plan.margins import too_few_to_confirm
    from ddp_sweep.spec import load_spec

    spec = load_spec(sweep)
    trials, seeds = count_trials(spec), len(spec.seeds)
    print(f"{sweep} is valid: {trials} trials, {trials // seeds} configurations x {seeds} seeds")
    warn(too_few_to_confirm(spec.quality))


def plan(
    sweep: Sweep,
    overrides: Overrides = None,
    address: Address = None,
    output_format: AsFormat = Format.TABLE,
) -> None:
    """Show the trials of a sweep in order, and those that cannot run; starts none of them."""
    from ddp_sweep.plan import build_plan, waves
    from ddp_sweep.plan.margins import too_few_to_confirm
    from ddp_sweep.report.plan_table import plan_to_json, print_plan
    from ddp_sweep.report.prediction import finished_trials, prediction_text, with_prediction
    from ddp_sweep.spec import load_spec
    from ddp_sweep.training.inspection import Inspected
    from ddp_sweep.training.tried import SpeedMemory
    from ddp_sweep.training.tryout import fine_margin_warnings
    from ddp_sweep.workload import code_version, load_workload, located

    spec = load_spec(sweep, overrides or ())
    factory = load_workload(spec.workload, spec.base_dir)
    inspected = Inspected(spec, located(factory, spec.base_dir))
    capacity = _capacity(spec, address)
    packed = spec.resources.placement == "packed"
    planned = build_plan(
        spec,
        capacity=capacity,
        train_lengths=lambda options: inspected(options).train_samples,
    )
    warn(too_few_to_confirm(spec.quality))
    for facts in inspected.all:
        warn(fine_margin_warnings(spec, facts))

    def lengths(trial: Trial) -> tuple[int, int]:
        facts = inspected(trial.workload_options)
        return facts.train_samples, facts.validation_samples

    finished = finished_trials(Path("results") / spec.name)
    planned = with_prediction(
        planned,
        finished=finished,
        memory=SpeedMemory.of_this_user(code_version(factory)),
        lengths=lengths,
        parallel=_faster_than_one(spec) if address is None else None,
        price_per_worker_hour=spec.resources.price_per_worker_hour,
        parts=waves(planned.trials, "packed", capacity) if packed else (),
    )
    if output_format is Format.JSON:
        print_json(plan_to_json(planned))
    else:
        words = sweep_words(sweep, overrides or ())
        text = prediction_text(planned, finished, words, side_by_side=packed)
        print_plan(planned, spec, stdout(), text, capacity)


def _faster_than_one(spec: SweepSpec) -> int | None:
    """Workers that this machine has cores for; None where they would compute on GPUs."""
    from ddp_sweep.training.host_load import usable_cores
    from ddp_sweep.training.tryout import has_gpu_for

    if has_gpu_for(spec.resources):
        return None
    return max(1, usable_cores() // spec.resources.cpus_per_worker)


def _capacity(spec: SweepSpec, address: str | None) -> int | None:
    """Workers that can run at once; without a cluster what the sweep file says, if anything."""
    if address is None:
        return spec.resources.max_workers
    from ddp_sweep.cluster.connection.capacity import connect

    with connect(address, spec) as connection:
        return connection.capacity
