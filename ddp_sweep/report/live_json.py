"""Progress for programs: one JSON object a line.

Every object has ``event`` and ``time`` (UTC, ISO 8601). The kinds, with what else they have:

- ``connecting``: ``sweep``, ``folder``
- ``sweep_planned``: ``planned``, ``done``, ``time_left_s``
- ``workers_starting``: ``pending``
- ``trial_started``: ``trial``
- ``trial_progress``, at most every five seconds for each running trial: ``trial``, ``progress``,
  ``time_left_s``
- ``trial_ended``: ``trial``, ``status``, ``status_detail``, ``wall_time_s``, ``again``, ``done``,
  ``planned``, ``time_left_s``, ``last_lines`` (what the workers of a failed trial printed last),
  ``logs_command`` (shows all of it)
- ``front_runner``, when it was worked out anew: ``configuration``, ``baseline``, ``speedup``,
  ``speedup_low``, ``speedup_high``, ``quality``, ``trials``
- ``stopping``: after Ctrl-C, what runs may end
- ``sweep_ended``: ``interrupted``, ``done``, ``planned``
- ``message``: ``text``, whatever else is to be said or would have been printed
- ``finished``, the last: ``exit_code``, and as ``message`` the error that ended the run, if any

``trial`` holds ``trial_id``, ``configuration_id``, ``world_size``, ``per_worker_batch_size``,
``global_batch_size``, ``accumulation_steps``, ``seed`` and ``attempt``; ``progress`` holds
``stage``, ``samples``, ``budget``, ``optimizer_step``, ``train_loss`` and ``samples_per_s``.
What is unknown is null; there is no NaN.
"""

from __future__ import annotations

import io
import json
import math
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, TextIO

from ddp_sweep.live import (
    Connecting,
    Event,
    Notice,
    PlannedTrial,
    Progress,
    Stopping,
    SweepEnded,
    SweepOverview,
    SweepPlanned,
    TrialEnded,
    TrialProgressed,
    TrialStarted,
    WorkersStarting,
)
from ddp_sweep.report.front_runner import FrontRunner, Judge

__all__ = ["JsonLines", "MessageLines", "front_json", "progress_json", "trial_json"]

_PROGRESS_EVERY_S = 5.0


class JsonLines:
    """Writes each event as a line.

    Args:
        stream: Where to.
        clock: Seconds of a clock that never jumps.
    """

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream
        self._clock = clock
        self._judge: Judge | None = None
        self._progress_s = -math.inf
        self._trials: dict[str, dict[str, Any]] = {}
        """Those that run, by their id."""

    def observe(self, event: Event, overview: SweepOverview) -> None:
        """Write the lines of an event; between trials, find out who is ahead."""
        self._tell(event, overview)
        match event:
            case Connecting():
                self._judge = Judge(event.folder, self._clock)
            case WorkersStarting() if self._judge is not None:
                self._judge.prepare()
            case SweepPlanned() | TrialEnded() if self._judge is not None:
                self._judge_anew(self._judge)

    def _tell(self, event: Event, overview: SweepOverview) -> None:
        match event:
            case Connecting():
                self.write("connecting", sweep=event.sweep, folder=str(event.folder))
            case SweepPlanned():
                left_s = overview.time_left_s
                self.write("sweep_planned", **_counts(overview), time_left_s=left_s)
            case WorkersStarting():
                self.write("workers_starting", pending=event.pending)
            case TrialStarted():
                found = [one.trial for one in overview.running]
                trial = next(one for one in found if one.trial_id == event.trial_id)
                self._trials[event.trial_id] = trial_json(trial, event.attempt)
                self.write("trial_started", trial=self._trials[event.trial_id])
            case TrialProgressed():
                self._tell_progress(event.progress, overview)
            case TrialEnded():
                self._tell_end(event, overview)
            case Notice():
                self.write("message", text=event.text)
            case Stopping():
                self.write("stopping")
            case SweepEnded():
                self.write("sweep_ended", interrupted=event.interrupted, **_counts(overview))

    def write(self, event: str, **values: Any) -> None:  # noqa: ANN401 - JSON values
        """Write one line."""
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        line = json.dumps({"event": event, "time": now, **values}, allow_nan=False)
        # In one piece: others write messages to the same stream.
        self._stream.write(f"{line}\n")
        self._stream.flush()

    def close(self) -> None:
        """Nothing is left behind."""

    def _tell_progress(self, heard: Mapping[str, Progress], overview: SweepOverview) -> None:
        now_s = self._clock()
        if not heard or now_s - self._progress_s < _PROGRESS_EVERY_S:
            return
        self._progress_s = now_s
        for trial_id in self._trials.keys() & heard.keys():
            self.write(
                "trial_progress",
                trial=self._trials[trial_id],
                progress=progress_json(heard[trial_id]),
                time_left_s=overview.time_left_s,
            )

    def _tell_end(self, event: TrialEnded, overview: SweepOverview) -> None:
        attempt = event.attempt
        self.write(
            "trial_ended",
            trial=self._trials.pop(attempt.trial_id, None),
            status=attempt.status,
            status_detail=attempt.status_detail,
            wall_time_s=attempt.wall_time_s,
            again=event.again,
            **_counts(overview),
            time_left_s=overview.time_left_s,
            last_lines=[] if event.output is None else list(event.output.lines),
            logs_command=None if event.output is None else event.output.command,
        )

    def _judge_anew(self, judge: Judge) -> None:
        before = judge.newest
        judge.look()
        front = judge.newest
        if front is not None and front is not before:
            self.write("front_runner", **front_json(front))


class MessageLines(io.TextIOBase):
    """Stands in for stderr: what others print there becomes lines of JSON as well."""

    def __init__(self, lines: JsonLines) -> None:
        self._lines = lines
        self._rest = ""

    def write(self, text: str) -> int:
        """Take text; every whole line of it is written at once."""
        *whole, self._rest = (self._rest + text).split("\n")
        for line in whole:
            if line.strip():
                self._lines.write("message", text=line)
        return len(text)

    def writable(self) -> bool:
        """Always."""
        return True


def trial_json(trial: PlannedTrial, attempt: int) -> dict[str, Any]:
    """An attempt as JSON types."""
    return {
        "trial_id": trial.trial_id,
        "configuration_id": trial.configuration_id,
        "world_size": trial.world_size,
        "per_worker_batch_size": trial.per_worker_batch_size,
        "global_batch_size": trial.global_batch_size,
        "accumulation_steps": trial.accumulation_steps,
        "seed": trial.seed,
        "attempt": attempt,
    }


def progress_json(progress: Progress | None) -> dict[str, Any] | None:
    """Progress as JSON types; a loss that is no number is null."""
    if progress is None:
        return None
    loss = progress.train_loss
    return {
        "stage": progress.stage,
        "samples": progress.samples,
        "budget": progress.budget,
        "optimizer_step": progress.optimizer_step,
        "train_loss": loss if loss is not None and math.isfinite(loss) else None,
        "samples_per_s": progress.samples_per_s,
    }


def front_json(front: FrontRunner) -> dict[str, Any]:
    """Who is ahead as JSON types."""
    return {
        "configuration": front.name,
        "baseline": front.baseline,
        "speedup": front.speedup,
        "speedup_low": front.speedup_low,
        "speedup_high": front.speedup_high,
        "quality": front.quality.value,
        "trials": front.trials,
    }


def _counts(overview: SweepOverview) -> dict[str, Any]:
    return {"done": overview.done, "planned": overview.planned}
