"""Where a sweep stands: events added up into one object that every view draws."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import time

from ddp_sweep.live.events import (
    Connecting,
    Event,
    Stopping,
    SweepEnded,
    SweepPlanned,
    TrialEnded,
    TrialProgressed,
    TrialStarted,
    WorkersStarting,
)
from ddp_sweep.live.time_left import Pace
from ddp_sweep.live.trials import BatchAxis, PastAttempt, PlannedTrial, Progress
from ddp_sweep.live.wording import cause
from ddp_sweep.schema import Status

__all__ = ["CellProgress", "FailureGroup", "RunningTrial", "Stage", "SweepOverview", "Tracker"]

Stage = str
"""``connecting``, ``starting workers``, ``running``, ``stopping`` or ``ended``."""


@dataclass(frozen=True, kw_only=True)
class CellProgress:
    """The trials of one number of workers and one batch size."""

    world_size: int
    batch_size: int | None
    """By the axis of the sweep file; None where the batch cannot be shared out evenly."""
    configurations: tuple[str, ...]
    """Ids; more than one where the sweep varies other settings as well."""
    outcomes: tuple[Status | None, ...]
    """How each trial ended, in the order they run; None for those to come."""
    running: tuple[int, ...] = ()
    """Places among ``outcomes`` of the trials that run."""

    @property
    def ended(self) -> int:
        """Trials that have a result."""
        return sum(outcome is not None for outcome in self.outcomes)


@dataclass(frozen=True, kw_only=True)
class FailureGroup:
    """Trials of one configuration that failed in the same way."""

    configuration: str
    """In words."""
    status: Status
    count: int
    of: int
    """Trials of the configuration."""
    cause: str | None
    """What the last of them said."""


@dataclass(frozen=True, kw_only=True)
class RunningTrial:
    """A trial that runs now."""

    trial: PlannedTrial
    attempt: int
    dispatched_s: float
    """When it was handed out, in seconds since 1970; workers may have to be started first."""
    progress: Progress | None = None


@dataclass(frozen=True, kw_only=True)
class SweepOverview:
    """Where a sweep stands at one moment."""

    sweep: str = ""
    folder: Path = Path()
    stage: Stage = "connecting"
    planned: int | None = None
    """Trials of the sweep; None before that is known."""
    done: int = 0
    """Trials that will not be run again."""
    by_status: Mapping[Status, int] = field(default_factory=dict)
    """Of the trials that have a result."""
    batch_axis: BatchAxis = BatchAxis.GLOBAL
    cells: tuple[CellProgress, ...] = ()
    failures: tuple[FailureGroup, ...] = ()
    running: tuple[RunningTrial, ...] = ()
    """In the order they were handed out; more than one where trials run side by side."""
    elapsed_s: float | None = None
    """Since this run began; None where none is watched."""
    time_left_s: float | None = None
    """Predicted; None where nothing is known yet."""

    @property
    def left(self) -> int | None:
        """Trials that are still to be run."""
        return None if self.planned is None else self.planned - self.done


class Tracker:
    """Adds events up.

    Args:
        clock: The time of day in seconds since 1970.
        running: Whether trials are run; else the time left is that of a new run.
    """

    def __init__(self, clock: Callable[[], float] = time, *, running: bool = True) -> None:
        self._clock = clock
        self._began_s = clock()
        self._runs = running
        self._base = SweepOverview()
        self._trials: dict[str, PlannedTrial] = {}
        self._last: dict[str, PastAttempt] = {}
        self._past: list[PastAttempt] = []
        self._pending: dict[str, PlannedTrial] = {}
        self._running: dict[str, RunningTrial] = {}
        self._previous: PlannedTrial | None = None
        self._side_by_side: Mapping[int, int] = {}
        self._pace = Pace((), ())
        self._rest_s = 0.0

    def apply(self, event: Event) -> None:
        """Take note of an event."""
        match event:
            case Connecting():
                self._base = replace(self._base, sweep=event.sweep, folder=event.folder)
            case SweepPlanned():
                self._plan(event)
            case WorkersStarting():
                self._base = replace(self._base, stage="starting workers")
            case TrialStarted():
                self._start(event)
            case TrialProgressed():
                # The newest is kept where nothing was heard this time.
                for trial_id in event.progress.keys() & self._running.keys():
                    running = self._running[trial_id]
                    self._running[trial_id] = replace(running, progress=event.progress[trial_id])
            case TrialEnded():
                self._end(event)
            case Stopping():
                self._base = replace(self._base, stage="stopping")
                self._count()
            case SweepEnded():
                self._running = {}
                self._base = replace(self._base, stage="ended")
                self._count()

    @property
    def running(self) -> tuple[RunningTrial, ...]:
        """The trials that run."""
        return tuple(self._running.values())

    def overview(self) -> SweepOverview:
        """Where the sweep stands now; cheap between the ends of trials."""
        now_s = self._clock()
        return replace(
            self._base,
            running=self.running,
            elapsed_s=now_s - self._began_s,
            time_left_s=self._time_left_s(now_s),
        )

    def _plan(self, event: SweepPlanned) -> None:
        self._trials = {trial.trial_id: trial for trial in event.trials}
        self._running, self._previous = {}, None
        self._side_by_side = event.side_by_side
        self._past = list(event.past)
        self._last = _last_attempts(event.past)
        self._pending = {
            trial.trial_id: trial for trial in event.trials if trial.trial_id in event.pending
        }
        self._base = replace(self._base, planned=len(event.trials), batch_axis=event.batch_axis)
        self._count()

    def _start(self, event: TrialStarted) -> None:
        trial = self._trials[event.trial_id]
        self._running[event.trial_id] = RunningTrial(
            trial=trial, attempt=event.attempt, dispatched_s=self._clock()
        )
        if self._base.stage != "stopping":
            self._base = replace(self._base, stage="running")
        self._count()

    def _end(self, event: TrialEnded) -> None:
        attempt = event.attempt
        self._running.pop(attempt.trial_id, None)
        self._previous = self._trials[attempt.trial_id]
        self._past.append(attempt)
        self._last[attempt.trial_id] = attempt
        if not event.again:
            self._pending.pop(attempt.trial_id, None)
        self._count()

    def _count(self) -> None:
        """Everything that changes with the begin and end of trials only."""
        ended = {one: last for one, last in self._last.items() if one not in self._pending}
        outcomes = {one: Status(last.status) for one, last in ended.items() if one in self._trials}
        for trial in self._trials.values():
            if trial.infeasible is not None:
                outcomes.setdefault(trial.trial_id, Status.INFEASIBLE)
        self._base = replace(
            self._base,
            done=len(self._trials) - len(self._pending),
            by_status=dict(Counter(outcomes.values())),
            cells=tuple(self._cells(outcomes)),
            failures=tuple(_failures(self._trials, self._last, outcomes)),
        )
        self._pace = Pace(self._past, self._trials.values())
        to_come = [one for one in self._pending.values() if one.trial_id not in self._running]
        if self._base.stage in ("stopping", "ended") and self._runs:
            to_come = []
        self._rest_s = 0.0
        if self._pace.known:
            self._rest_s = self._pace.rest_s(to_come, self._newest, self._side_by_side)

    @property
    def _newest(self) -> PlannedTrial | None:
        """What the next trial comes after."""
        running = self.running
        return running[-1].trial if running else self._previous

    def _time_left_s(self, now_s: float) -> float | None:
        if not self._pending or (self._base.stage == "ended" and self._runs):
            return 0.0 if self._trials else None
        if not self._running:
            return self._rest_s if self._pace.known else None
        left_s = [
            self._pace.remaining_s(
                one.trial,
                one.progress,
                after=self._previous,
                dispatched_s=one.dispatched_s,
                now_s=now_s,
            )
            for one in self.running
        ]
        known_s = [one for one in left_s if one is not None]
        enough = self._pace.known or len(self._pending) == len(self._running)
        if len(known_s) < len(left_s) or not enough:
            return None
        # Once the first of several ends, a trial of the rest takes its place.
        return max(known_s) if not self._rest_s else sum(known_s) / len(known_s) + self._rest_s

    def _cells(self, outcomes: Mapping[str, Status]) -> Iterable[CellProgress]:
        groups: dict[tuple[int, int], list[PlannedTrial]] = defaultdict(list)
        for trial in self._trials.values():
            groups[trial.world_size, self._batch(trial)].append(trial)
        for (world_size, batch), trials in sorted(groups.items()):
            yield CellProgress(
                world_size=world_size,
                batch_size=batch or None,
                configurations=tuple(dict.fromkeys(one.configuration_id for one in trials)),
                outcomes=tuple(outcomes.get(one.trial_id) for one in trials),
                running=tuple(n for n, one in enumerate(trials) if one.trial_id in self._running),
            )

    def _batch(self, trial: PlannedTrial) -> int:
        per_worker = self._base.batch_axis is BatchAxis.PER_WORKER
        return (trial.per_worker_batch_size or 0) if per_worker else trial.global_batch_size


def _last_attempts(past: Iterable[PastAttempt]) -> dict[str, PastAttempt]:
    last: dict[str, PastAttempt] = {}
    for one in sorted(past, key=lambda each: each.attempt):
        last[one.trial_id] = one
    return last


def _failures(
    trials: Mapping[str, PlannedTrial],
    last: Mapping[str, PastAttempt],
    outcomes: Mapping[str, Status],
) -> Iterable[FailureGroup]:
    """Trials without a measurement, those of one configuration and kind together."""
    totals = Counter(trial.configuration_id for trial in trials.values())
    groups: dict[tuple[str, Status], list[PlannedTrial]] = defaultdict(list)
    for trial_id, status in outcomes.items():
        if status is not Status.SUCCEEDED:
            groups[trials[trial_id].configuration_id, status].append(trials[trial_id])
    for (configuration_id, status), members in groups.items():
        details = [
            last[one.trial_id].status_detail if one.trial_id in last else one.infeasible
            for one in members
        ]
        yield FailureGroup(
            configuration=members[0].name,
            status=status,
            count=len(members),
            of=totals[configuration_id],
            cause=cause(details[-1]),
        )
