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
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ddp_sweep.live.events import SweepPlanned
from ddp_sweep.live.overview import RunningTrial, SweepOverview
from ddp_sweep.live.trials import BatchAxis, PlannedTrial, Progress
from ddp_sweep.results import ResultsFolder
from ddp_sweep.results.whole_files import write_whole

__all__ = ["Record", "read_plan", "read_record", "write_plan", "write_record"]

_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Record:
    """What the last run of a folder last wrote about itself."""

    stage: str
    host: str
    updated_s: float
    """In seconds since 1970."""
    resume_command: str
    trial_id: str | None = None
    attempt: int | None = None
    dispatched_s: float | None = None
    progress: Progress | None = None

    def running(self, trials: Mapping[str, PlannedTrial]) -> RunningTrial | None:
        """The trial that ran, if any of ``trials``, by their ids."""
        trial = trials.get(self.trial_id or "")
        if trial is None or self.attempt is None or self.dispatched_s is None:
            return None
        return RunningTrial(
            trial=trial,
            attempt=self.attempt,
            dispatched_s=self.dispatched_s,
            progress=self.progress,
        )


def write_plan(folder: ResultsFolder, plan: SweepPlanned) -> None:
    """Write down which trials there are."""
    trials = [asdict(trial) for trial in plan.trials]
    _write(folder.plan_file, {"batch_axis": plan.batch_axis.value, "trials": trials})


def read_plan(folder: ResultsFolder) -> tuple[tuple[PlannedTrial, ...], BatchAxis] | None:
    """The trials of the last run; None where there is no such file that can be read."""
    found = _read(folder.plan_file)
    try:
        trials = tuple(PlannedTrial(**one) for one in found["trials"])
        return trials, BatchAxis(found["batch_axis"])
    except (KeyError, TypeError, ValueError):
        return None


def write_record(
    folder: ResultsFolder, overview: SweepOverview, *, now_s: float, resume_command: str
) -> None:
    """Write down what runs now."""
    running = overview.running
    known: dict[str, Any] = {
        "stage": overview.stage,
        "host": socket.gethostname(),
        "updated_s": now_s,
        "resume_command": resume_command,
    }
    if running is not None:
        known |= {
            "trial_id": running.trial.trial_id,
            "attempt": running.attempt,
            "dispatched_s": running.dispatched_s,
            "progress": None if running.progress is None else asdict(running.progress),
        }
    _write(folder.progress_file, known)


def read_record(folder: ResultsFolder) -> Record | None:
    """What the last run wrote; None where there is no such file that can be read."""
    found = _read(folder.progress_file)
    try:
        found.pop("version")
        progress = found.pop("progress", None)
        return Record(**found, progress=None if progress is None else Progress(**progress))
    except (KeyError, TypeError):
        return None


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
