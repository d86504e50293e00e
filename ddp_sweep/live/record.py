"""What a run leaves beside its results for ``status``: its plan, and what runs now.

Two small files of JSON. ``_plan.json`` is written when the plan is known, ``_progress.json`` by
rename at every begin and end of a trial and every few seconds in between. A reader learns from
the lock whether the run that wrote them is still there.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ddp_sweep.live.events import SweepPlanned
from ddp_sweep.live.overview import RunningTrial, SweepOverview
from ddp_sweep.live.trials import BatchAxis, PlannedTrial, Progress
from ddp_sweep.results import ResultsFolder
from ddp_sweep.results.whole_files import write_whole

__all__ = [
    "Record",
    "RecordedAttempt",
    "RecordedPlan",
    "read_plan",
    "read_record",
    "write_plan",
    "write_record",
]

_VERSION = 2


@dataclass(frozen=True, kw_only=True)
class RecordedAttempt:
    """An attempt that ran."""

    trial_id: str
    attempt: int
    dispatched_s: float
    progress: Progress | None = None


@dataclass(frozen=True, kw_only=True)
class Record:
    """What the last run of a folder last wrote about itself."""

    stage: str
    host: str
    updated_s: float
    """In seconds since 1970."""
    resume_command: str
    attempts: tuple[RecordedAttempt, ...] = ()
    """Those that ran, in the order they were handed out."""

    def running(self, trials: Mapping[str, PlannedTrial]) -> tuple[RunningTrial, ...]:
        """What ran of ``trials``, which are given by their ids."""
        return tuple(
            RunningTrial(
                trial=trials[one.trial_id],
                attempt=one.attempt,
                dispatched_s=one.dispatched_s,
                progress=one.progress,
            )
            for one in self.attempts
            if one.trial_id in trials
        )


@dataclass(frozen=True, kw_only=True)
class RecordedPlan:
    """What the last run of a folder was to do."""

    trials: tuple[PlannedTrial, ...]
    batch_axis: BatchAxis
    side_by_side: Mapping[int, int] = field(default_factory=dict)


def write_plan(folder: ResultsFolder, plan: SweepPlanned) -> None:
    """Write down which trials there are."""
    contents = {
        "batch_axis": plan.batch_axis.value,
        "side_by_side": dict(plan.side_by_side),
        "trials": [asdict(trial) for trial in plan.trials],
    }
    _write(folder.plan_file, contents)


def read_plan(folder: ResultsFolder) -> RecordedPlan | None:
    """The plan of the last run; None where there is no such file that can be read."""
    found = _read(folder.plan_file)
    try:
        return RecordedPlan(
            trials=tuple(PlannedTrial(**one) for one in found["trials"]),
            batch_axis=BatchAxis(found["batch_axis"]),
            side_by_side={int(size): n for size, n in found["side_by_side"].items()},
        )
    except (AttributeError, KeyError, TypeError, ValueError):
        return None


def write_record(
    folder: ResultsFolder, overview: SweepOverview, *, now_s: float, resume_command: str
) -> None:
    """Write down what runs now."""
    running = [
        {
            "trial_id": one.trial.trial_id,
            "attempt": one.attempt,
            "dispatched_s": one.dispatched_s,
            "progress": None if one.progress is None else asdict(one.progress),
        }
        for one in overview.running
    ]
    known: dict[str, Any] = {
        "stage": overview.stage,
        "host": socket.gethostname(),
        "updated_s": now_s,
        "resume_command": resume_command,
        "running": running,
    }
    _write(folder.progress_file, known)


def read_record(folder: ResultsFolder) -> Record | None:
    """What the last run wrote; None where there is no such file that can be read."""
    found = _read(folder.progress_file)
    try:
        found.pop("version")
        running = tuple(_attempt(one) for one in found.pop("running"))
        return Record(**found, attempts=running)
    except (AttributeError, KeyError, TypeError):
        return None


def _attempt(found: dict[str, Any]) -> RecordedAttempt:
    progress = found.pop("progress")
    return RecordedAttempt(**found, progress=None if progress is None else Progress(**progress))


def _write(file: Path, contents: dict[str, Any]) -> None:
    # A full or unreachable disk is noticed where results are written, not here.
    with suppress(OSError):
        write_whole(file, json.dumps({"version": _VERSION, **contents}), durable=False)


def _read(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) and found.get("version") == _VERSION else {}
