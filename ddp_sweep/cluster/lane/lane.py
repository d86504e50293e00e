"""Runs one trial after another on a warm gang; never raises for a trial.

A lane owns a gang: it starts one when it needs one, gives it up after a failure or when a worker
asks for that, and between blocks of the plan where a new start is cheap. Free of Ray, so that all
of this can be tested without it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Protocol

from ddp_sweep.cluster.gang.failures import Failure, GangOutcome, no_room
from ddp_sweep.cluster.lane.headroom import Headroom
from ddp_sweep.errors import UnwritableError
from ddp_sweep.plan import Trial
from ddp_sweep.reporter import AttemptResult
from ddp_sweep.schema import AFTER_OTHERS, Status
from ddp_sweep.training.messages import RankReport, TrialRequest

__all__ = ["GangLike", "Lane", "restart_is_cheap"]

_CHEAP_RESTART = 0.1
"""Share of a block's time that starting a new gang may take."""


class GangLike(Protocol):
    """What a lane needs of a gang; see :class:`ddp_sweep.cluster.gang.gang.Gang`."""

    gang_id: str

    @property
    def world_size(self) -> int:
        """Number of workers, and so the largest world size of a trial."""
        ...

    @property
    def alive(self) -> bool:
        """Whether the workers are there."""
        ...

    def start(self) -> Failure | None:
        """Start the workers."""
        ...

    def run(self, request: TrialRequest) -> GangOutcome:
        """Run one attempt."""
        ...

    def close(self) -> bool:
        """Let the workers go; False where something is left of them."""
        ...

    def abort(self) -> bool:
        """End the workers by force; False where something is left of them."""
        ...


def restart_is_cheap(start_s: float, block_s: float) -> bool:
    """Whether a gang that took so long to start should be renewed after such a block.

    One process's luck (memory layout, placement) must not pass for independent measurements.
    """
    return start_s < _CHEAP_RESTART * block_s


class Lane:
    """One gang after another, one trial after another.

    Args:
        make_gang: Makes a gang that is not started yet, for at most so many workers.
        commit: Writes the outcome of an attempt; its errors are not the trial's and leave
            :meth:`run`.
        headroom: How many workers the cluster can hold now.
        clock: Seconds of a clock that never jumps.
        now: The time of day, in UTC.
    """

    def __init__(
        self,
        make_gang: Callable[[int], GangLike],
        commit: Callable[[AttemptResult], None],
        headroom: Headroom,
        *,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.broken = False
        """Something is left of a gang that only the end of this process removes."""
        self._make_gang = make_gang
        self._commit = commit
        self._headroom = headroom
        self._room = 0
        self._had = 0
        """Size of the largest gang that has started."""
        self._clock = clock
        self._now = now
        self._gang: GangLike | None = None
        self._gang_start_s = 0.0
        self._gang_trials = 0
        """Trials that the gang was given before."""
        self._block: int | None = None
        self._block_began_s = 0.0

    def run(self, request: TrialRequest, *, fresh_workers: bool = False) -> AttemptResult:
        """Run one attempt to its end, commit it and clean up behind it.

        Args:
            request: The attempt.
            fresh_workers: Whether it needs workers that have run nothing yet.
        """
        if fresh_workers:
            self.close()
        shortage = self._shortage(request.trial.world_size)
        if shortage is not None:
            result = self._result(request, GangOutcome(failure=shortage), None, None)
            self._commit(result)
            return result
        return self._run(request)

    def _run(self, request: TrialRequest) -> AttemptResult:
        startup_s, failure = self._ready(request.trial)
        gang = self._gang
        if failure is not None or gang is None:
            gang_id = None if gang is None else gang.gang_id
            result = self._result(request, GangOutcome(failure=failure), gang_id, startup_s)
        else:
            began_s, started_at = self._clock(), self._now()
            outcome = _excused(gang.run(request), self._gang_trials)
            self._gang_trials += 1
            result = replace(
                self._result(request, outcome, gang.gang_id, startup_s),
                started_at=started_at,
                wall_time_s=self._clock() - began_s,
            )
            failure = outcome.failure
        try:
            return self._committed(result)
        finally:
            if failure is not None:
                self._abort()
            elif any(one.recycle_reason for one in result.reports):
                self.close()

    def _committed(self, result: AttemptResult) -> AttemptResult:
        """Commit an attempt; where its measurements cannot be written it fails for that.

        Without a row it would pass for lost and be tried again, to the same end.
        """
        try:
            self._commit(result)
        except UnwritableError as error:
            detail = f"its measurements cannot be written: {error}"
            result = replace(
                result, status=Status.WORKLOAD_ERROR, status_detail=detail, reports=()
            )
            self._commit(result)
        return result

    def close(self) -> None:
        """End the gang, if there is one."""
        if self._gang is not None:
            self._give_up(self._gang.close)

    def _shortage(self, world_size: int) -> Failure | None:
        """Why there can't be enough workers now, where that is so."""
        gang = self._gang
        if gang is not None and gang.alive and gang.world_size >= world_size:
            return None
        self._room = self._headroom.wait_for(world_size)
        return no_room(world_size, self._room) if self._room < world_size else None

    def _ready(self, trial: Trial) -> tuple[float | None, Failure | None]:
        """Have a gang that runs: seconds to start it (None: it was there) and what failed."""
        block = trial.block
        if self._gang is not None and (
            not self._gang.alive or self._is_due(block) or self._gang.world_size < trial.world_size
        ):
            self._give_up(self._gang.close)
        startup_s, failure = None, None
        if self._gang is None:
            began_s = self._clock()
            failure = self._start()
            if failure is not None and self._nodes_have_gone(failure):
                # What is left may be enough, or they may be back by now.
                self._abort()
                failure = self._shortage(trial.world_size) or self._start_again(failure)
            self._had = max(self._had, 0 if failure else self._gang_size)
            startup_s = self._gang_start_s = self._clock() - began_s
        if block != self._block:
            self._block, self._block_began_s = block, self._clock()
        return startup_s, failure

    def _start(self) -> Failure | None:
        # One that is renewed for its age takes the room there was when it was made.
        self._gang = self._make_gang(self._room)
        self._gang_trials = 0
        return self._gang.start()

    def _start_again(self, failure: Failure) -> Failure | None:
        """Start workers in place of those that failed to, unless something is left of these.

        It may hold the room that the new ones need and goes only with this process, so that the
        trial is left to be tried again by another one.
        """
        return replace(failure, status=Status.WORKER_DIED) if self.broken else self._start()

    @property
    def _gang_size(self) -> int:
        return 0 if self._gang is None else self._gang.world_size

    def _nodes_have_gone(self, failure: Failure) -> bool:
        """Whether workers failed to start for want of nodes that were there before."""
        if failure.status == Status.NODE_LOST:
            return True
        size = self._gang_size
        in_vain = failure.status == Status.TIMED_OUT and self._had >= size
        if not in_vain or not self._headroom.lacks(size):
            return False
        self._headroom.give_up()
        return True

    def _is_due(self, block: int) -> bool:
        if self._block is None or block == self._block:
            return False
        return restart_is_cheap(self._gang_start_s, self._clock() - self._block_began_s)

    def _result(
        self,
        request: TrialRequest,
        outcome: GangOutcome,
        gang_id: str | None,
        startup_s: float | None,
    ) -> AttemptResult:
        status, detail = _ending(outcome)
        return AttemptResult(
            trial=request.trial,
            attempt=request.attempt,
            status=status,
            status_detail=detail,
            reports=outcome.reports,
            gang_id=gang_id,
            finished_at=self._now(),
            startup_time_s=startup_s,
        )

    def _abort(self) -> None:
        if self._gang is not None:
            self._give_up(self._gang.abort)

    def _give_up(self, end: Callable[[], bool]) -> None:
        self.broken = self.broken or not end()
        self._gang = None


def _excused(outcome: GangOutcome, trials_before: int) -> GangOutcome:
    """Say of memory that ran out whether earlier trials may have had a part in it."""
    failure = outcome.failure
    if failure is None or failure.status != Status.OUT_OF_MEMORY or not trials_before:
        return outcome
    return replace(outcome, failure=replace(failure, detail=AFTER_OTHERS + failure.detail))


def _ending(outcome: GangOutcome) -> tuple[Status, str | None]:
    if outcome.failure is not None:
        return outcome.failure.status, outcome.failure.detail
    worst: RankReport = min(outcome.reports, key=lambda report: report.status == Status.SUCCEEDED)
    return worst.status, worst.status_detail
