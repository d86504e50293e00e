"""The plan of a sweep as a table and as JSON."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from ddp_sweep.plan import InfeasibleTrial, Plan, Trial, waves
from ddp_sweep.spec import SweepSpec

__all__ = ["plan_to_json", "print_plan"]

AnyTrial = Trial | InfeasibleTrial

_IDENTITY = (
    "trial_id",
    "configuration_id",
    "world_size",
    "per_worker_batch_size",
    "global_batch_size",
    "accumulation_steps",
    "seed",
)


def plan_to_json(plan: Plan) -> dict[str, Any]:
    """The plan as ``ddp-sweep plan --format json`` prints it: JSON types only."""
    return {
        "trials": [_identity(trial) for trial in plan.trials],
        "infeasible": [{**_identity(trial), "reason": trial.reason} for trial in plan.infeasible],
        "estimate": asdict(plan.estimate),
    }


def print_plan(
    plan: Plan, spec: SweepSpec, console: Console, prediction: str, capacity: int | None = None
) -> None:
    """A row for each configuration, their order, what cannot run, and the time it will take.

    Args:
        plan: Of the sweep.
        spec: The sweep file.
        console: Where to print.
        prediction: What to say of the time and cost.
        capacity: Workers that can run at once; None where that is not known.
    """
    runnable, refused = _once(plan.trials), _once(plan.infeasible)
    count = (
        f": {_counted(len(plan.trials), 'trial')} = "
        f"{_counted(len(runnable), 'configuration')} x {_counted(len(spec.seeds), 'seed')}"
    )
    console.print(Text.assemble((spec.name, "bold"), count))
    if runnable:
        console.print(_configurations(runnable, list(spec.sweep.axes)))
        if spec.resources.placement == "packed":
            for line in _waves(plan, capacity):
                console.print(line)
        else:
            console.print(
                f"Order: {_counted(len(spec.seeds), 'block')}, one for each of the seeds "
                f"{_shortened(spec.seeds)}. A block runs every configuration once, in an order of "
                "its own, so that a drift of the machine favours none. Every trial in order: "
                "--format json"
            )
        if spec.quality.confirm_seeds:
            console.print(
                "After these, confirming runs: "
                f"{_counted(spec.quality.confirm_seeds, 'fresh seed')} each for the winner, the "
                "quality reference and the baseline, where there is a winner to confirm"
            )
    if refused:
        console.print()
        console.print(_refusals(refused, list(spec.sweep.axes)))
    console.print(Text(prediction))


def _waves(plan: Plan, capacity: int | None) -> Iterator[str]:
    """Placement packed: what runs side by side with what, and what that means."""
    yield (
        "Order: one number of workers at a time, its trials side by side. Times taken beside "
        "others give no speedup; quality is judged as ever. Every trial in order: --format json"
    )
    for number, wave in enumerate(waves(plan.trials, "packed", capacity), start=1):
        at_once = wave.side_by_side
        how = "as many at a time as fit" if at_once is None else f"{at_once} at a time"
        trials = _counted(len(wave.trials), "trial")
        workers = _counted(wave.world_size, "worker")
        yield f"  wave {number}: {trials} of {workers}, {how}"


def _identity(trial: AnyTrial) -> dict[str, Any]:
    identity = {name: getattr(trial, name) for name in _IDENTITY}
    return {**identity, "parameters": dict(trial.parameters)}


def _once(trials: Iterable[AnyTrial]) -> list[AnyTrial]:
    """One trial of each configuration, in the order of their sizes."""
    first = {trial.configuration_id: trial for trial in trials}
    return sorted(
        first.values(),
        key=lambda trial: (trial.world_size, trial.global_batch_size, trial.configuration_id),
    )


def _configurations(trials: Sequence[AnyTrial], axes: Sequence[str]) -> Table:
    table = Table("workers x batch = global", "learning rate", *_titles(axes))
    for trial in trials:
        table.add_row(_sizes(trial), f"{trial.learning_rate:g}", *_settings(trial, axes))
    return table


def _refusals(trials: Sequence[AnyTrial], axes: Sequence[str]) -> Table:
    table = Table("cannot run", *_titles(axes), "why", title_justify="left")
    for trial in trials:
        assert isinstance(trial, InfeasibleTrial)
        reasons = "\n".join(trial.reason.split("; "))
        table.add_row(_sizes(trial), *_settings(trial, axes), Text(reasons))
    return table


def _titles(axes: Sequence[str]) -> list[Column]:
    return [Column(header=Text(axis)) for axis in axes]


def _sizes(trial: AnyTrial) -> str:
    if trial.per_worker_batch_size is None:
        return f"{trial.world_size} x ? = {trial.global_batch_size}"
    steps = f" x {trial.accumulation_steps} steps" if trial.accumulation_steps != 1 else ""
    return f"{trial.world_size} x {trial.per_worker_batch_size}{steps} = {trial.global_batch_size}"


def _settings(trial: AnyTrial, axes: Sequence[str]) -> list[Text]:
    values: Mapping[str, Any] = trial.parameters
    return [Text("null" if values[axis] is None else str(values[axis])) for axis in axes]


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _shortened(seeds: Sequence[int]) -> str:
    shown = ", ".join(map(str, seeds[:10]))
    return shown if len(seeds) <= 10 else f"{shown}, ..."
