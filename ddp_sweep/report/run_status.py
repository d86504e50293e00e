"""How far a sweep is: what has ended and how, what runs now, and what is left."""

from __future__ import annotations

import shlex
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from ddp_sweep.errors import ResultsError
from ddp_sweep.live import (
    BatchAxis,
    Connecting,
    SweepOverview,
    SweepPlanned,
    Tracker,
    TrialProgressed,
    TrialStarted,
)
from ddp_sweep.live.record import Record, RecordedPlan, read_plan, read_record
from ddp_sweep.live.trials import past_attempts, planned
from ddp_sweep.live.wording import STATUS_WORDS, duration_text
from ddp_sweep.plan import build_plan, count_trials
from ddp_sweep.report.front_runner import FrontRunner, front_runner
from ddp_sweep.report.live_drawing import LiveDrawing
from ddp_sweep.report.live_json import front_json, progress_json, trial_json
from ddp_sweep.report.live_view import view_live
from ddp_sweep.results import Results, ResultsFolder, SeedPurpose
from ddp_sweep.results.lock import is_locked, may_run_elsewhere
from ddp_sweep.schema import Status
from ddp_sweep.spec import parse_spec

__all__ = ["RunStatus", "print_status", "run_status"]

_ADDED_FOR = {
    SeedPurpose.MORE_SEEDS.value: "more seeds",
    SeedPurpose.CONFIRMATION.value: "the confirmation of a winner",
}
_ANY_LENGTH = 2**62
"""Of a training set, where it is not worth loading one: what is too small has its rows."""
_GO_ON = "`ddp-sweep run` with the same sweep file and this folder as --output"
_FRESH_S = 60.0
"""A record of another machine that is younger than this may be of a run that goes on."""


@dataclass(frozen=True, kw_only=True)
class RunStatus:
    """What is known of a sweep from its results folder."""

    folder: str
    overview: SweepOverview
    runs: bool
    """Whether a run is writing to the folder, as far as this machine can see."""
    record: Record | None
    """What the last run wrote about itself."""
    added: dict[str, int]
    """How many of the trials are of seeds that were added, by purpose."""
    ended: int
    """Trials that have a row, of whatever status."""
    broken_off: int
    """Attempts whose run was killed; the next run gives them their row."""
    planned: int | None
    """Trials of the sweep; None where the folder has no sweep file."""
    front: FrontRunner | None
    now_s: float

    @property
    def left(self) -> int | None:
        """Trials that a run would still do: not begun, interrupted, or lost with their machine."""
        return None if self.planned is None else self.overview.left

    @property
    def predicted_left_s(self) -> float | None:
        """Time for those that are left; None where nothing has run yet."""
        return None if self.planned is None else self.overview.time_left_s

    def to_json(self) -> dict[str, Any]:
        """As ``ddp-sweep status --format json`` prints it: JSON types only."""
        return {
            "folder": self.folder,
            "planned": self.planned,
            "added": self.added,
            "ended": self.ended,
            "by_status": {str(one): n for one, n in _by_status(self.overview).items()},
            "broken_off": self.broken_off,
            "left": self.left,
            "predicted_left_s": self.predicted_left_s,
            "runs": self.runs,
            "running": [
                trial_json(one.trial, one.attempt) | {"progress": progress_json(one.progress)}
                for one in self.overview.running
            ],
            "cells": [
                {
                    "world_size": cell.world_size,
                    self.overview.batch_axis.value: cell.batch_size,
                    "trials": len(cell.outcomes),
                    "ended": cell.ended,
                    "succeeded": cell.outcomes.count(Status.SUCCEEDED),
                }
                for cell in self.overview.cells
            ],
            "failures": [
                {
                    "configuration": group.configuration,
                    "status": group.status.value,
                    "trials": group.count,
                    "cause": group.cause,
                }
                for group in self.overview.failures
            ],
            "front_runner": None if self.front is None else front_json(self.front),
        }


def run_status(results: Results, clock: Callable[[], float] = time.time) -> RunStatus:
    """Add up what a results folder says, with or without a run that goes on.

    Raises:
        ResultsError: The folder holds neither trials nor a sweep file.
        SpecError: The sweep file in the folder is not one.
    """
    folder = results.folder
    if results.spec is None and not folder.trials.is_dir():
        raise ResultsError(f"{folder.path} is no results folder: no sweep was run in it")
    runs, elsewhere, record = is_locked(folder), may_run_elsewhere(folder), read_record(folder)
    plan = _planned(results)
    trials = plan.trials
    past = past_attempts(results.trials)
    last = {one.trial_id: one for one in sorted(past, key=lambda one: one.attempt)}
    pending = frozenset(
        trial.trial_id
        for trial in trials
        if trial.infeasible is None
        and (trial.trial_id not in last or last[trial.trial_id].to_rerun)
    )
    tracker = Tracker(clock, running=runs)
    tracker.apply(Connecting(sweep=_name(results), folder=folder.path))
    tracker.apply(
        SweepPlanned(
            trials=trials,
            pending=pending,
            past=past,
            batch_axis=plan.batch_axis,
            side_by_side=plan.side_by_side,
        )
    )
    for one in record.running({one.trial_id: one for one in trials}) if runs and record else ():
        trial_id = one.trial.trial_id
        if trial_id in pending:
            tracker.apply(TrialStarted(trial_id=trial_id, attempt=one.attempt))
            heard = {} if one.progress is None else {trial_id: one.progress}
            tracker.apply(TrialProgressed(progress=heard))
    stage = "stopped" if not runs else "running" if record is None else record.stage
    return RunStatus(
        folder=str(folder.path),
        overview=replace(tracker.overview(), stage=stage, elapsed_s=None),
        runs=runs,
        record=record,
        added=_added(results),
        ended=len(last),
        broken_off=0 if runs or elsewhere else len(folder.attempts_without_row()),
        planned=len(trials) if trials else None,
        front=None if results.trials.empty else front_runner(results),
        now_s=clock(),
    )


def _planned(results: Results) -> RecordedPlan:
    """The trials as the last run planned them; without such a file, those of the sweep file."""
    known = read_plan(results.folder)
    if known is not None:
        return known
    if results.spec is None:
        return RecordedPlan(trials=(), batch_axis=BatchAxis.GLOBAL)
    spec = parse_spec(results.spec, source=str(results.folder.spec_file))
    plan = build_plan(spec, capacity=None, train_lengths=_ANY_LENGTH, more_seeds=results.added)
    by_worker = spec.sweep.per_worker_batch_size is not None
    axis = BatchAxis.PER_WORKER if by_worker else BatchAxis.GLOBAL
    return RecordedPlan(trials=planned(plan), batch_axis=axis)


def _added(results: Results) -> dict[str, int]:
    """Trials of the seeds that were added, by purpose."""
    found: dict[str, int] = {}
    if results.spec is None:
        return found
    spec = parse_spec(results.spec, source=str(results.folder.spec_file))
    swept = count_trials(spec)
    for one in results.added:
        trials = count_trials(spec, [one]) - swept
        found[one.purpose.value] = found.get(one.purpose.value, 0) + trials
    return found


def _name(results: Results) -> str:
    return str((results.spec or {}).get("name", results.folder.path.name))


def _by_status(overview: SweepOverview) -> dict[Status, int]:
    return {one: overview.by_status[one] for one in Status if one in overview.by_status}


def print_status(status: RunStatus, console: Console) -> None:
    """The same view as a run shows, and in a sentence whether one goes on."""
    of_all = "" if status.planned is None else f" of {status.planned}"
    ended = f": {status.ended}{of_all} trials ended"
    console.print(Text.assemble((status.folder, "bold"), ended))
    if status.added:
        listed = ", ".join(f"{n} for {_ADDED_FOR[purpose]}" for purpose, n in status.added.items())
        console.print(Text(f"Of these were added to the sweep: {listed}"))
    console.print()
    if status.overview.cells:
        console.print(LiveDrawing(view_live(status.overview, status.front)))
    parts = (_counts(status), _what_runs(status), _what_broke_off(status))
    for line in (*(line for part in parts for line in part), _what_is_left(status)):
        console.print(Text(line))


def _counts(status: RunStatus) -> Iterator[str]:
    counts = _by_status(status.overview)
    if counts:
        yield ", ".join(f"{number} {STATUS_WORDS[one]}" for one, number in counts.items())
    if status.overview.failures and ResultsFolder(Path(status.folder)).logs.is_dir():
        yield f"What the workers printed: {shlex.join(['ddp-sweep', 'logs', status.folder])}"


def _what_runs(status: RunStatus) -> Iterator[str]:
    record = status.record
    if status.runs:
        yield "A run is writing to this folder" + (
            "." if record is None else _heard(status, record)
        )
        return
    if status.left == 0:
        return
    if record is not None and record.stage != "ended":
        age_s = status.now_s - record.updated_s
        if record.host != socket.gethostname() and age_s < _FRESH_S:
            yield (
                f"A run on {record.host} said {duration_text(age_s)} ago that it goes on; "
                "whether it still does cannot be seen from this machine."
            )
            return
        yield (
            f"Nothing runs now: the last run broke off about {duration_text(age_s)} ago, "
            "without having been stopped."
        )
    else:
        yield "Nothing runs now."
    command = _GO_ON if record is None else record.resume_command
    yield f"To go on: {command}"


def _what_broke_off(status: RunStatus) -> Iterator[str]:
    if status.broken_off:
        one = status.broken_off == 1
        yield (
            f"{status.broken_off} {'attempt' if one else 'attempts'} broke off with "
            f"{'its run' if one else 'their runs'}; the next run writes "
            f"{'it' if one else 'them'} down as interrupted and runs the "
            f"{'trial' if one else 'trials'} again."
        )


def _heard(status: RunStatus, record: Record) -> str:
    return f", last heard of {duration_text(max(0.0, status.now_s - record.updated_s))} ago."


def _what_is_left(status: RunStatus) -> str:
    if status.left is None:
        return "How many are left is not known: the folder holds no sweep file."
    if status.left == 0:
        return "Nothing is left to run."
    sentence = f"{status.left} left to run"
    if status.predicted_left_s is None:
        return f"{sentence}; how long they take is not known before the first has ended."
    return f"{sentence}; predicted to take {duration_text(status.predicted_left_s)}."
