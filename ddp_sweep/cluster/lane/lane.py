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

from ddp_sweep.cluster.gang.failures import Failure, GangOutcome
from ddp_sweep.reporter import AttemptResult
from ddp_sweep.schema import Status
from ddp_sweep.training.messages import RankReport, TrialRequest

__all__ = ["GangLike", "Lane", "restart_is_cheap"]

_CHEAP_RESTART = 0.1
"""Share of a block's time that starting a new gang may take."""


class GangLike(Protocol):
    """What a lane needs of a gang; see :class:`ddp_sweep.cluster.gang.gang.Gang`."""

    gang_id: str

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
        make_gang: Makes a gang that is not started yet.
        commit: Writes the outcome of an attempt; its errors are not the trial's and leave
            :meth:`run`.
        clock: Seconds of a clock that never jumps.
        now: The time of day, in UTC.
    """

    def __init__(
        self,
        make_gang: Callable[[], GangLike],
        commit: Callable[[AttemptResult], None],
        *,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.broken = False
        """Something is left of a gang that only the end of this process removes."""
        self._make_gang = make_gang
        self._commit = commit
        self._clock = clock
        self._now = now
        self._gang: GangLike | None = None
        self._gang_start_s = 0.0
        self._block: int | None = None
        self._block_began_s = 0.0

    def run(self, request: TrialRequest) -> AttemptResult:
        """Run one attempt to its end, commit it and clean up behind it."""
        startup_s, failure = self._ready(request.trial.block)
        gang = self._gang
        assert gang is not None
        if failure is not None:
            result = self._result(request, GangOutcome(failure=failure), gang.gang_id, startup_s)
        else:
            began_s, started_at = self._clock(), self._now()
            outcome = gang.run(request)
            result = replace(
                self._result(request, outcome, gang.gang_id, startup_s),
                started_at=started_at,
                wall_time_s=self._clock() - began_s,
            )
            failure = outcome.failure
        try:
            self._commit(result)
        finally:
            if failure is not None:
                self._give_up(gang.abort)
            elif any(report.recycle_reason for report in result.reports):
                self._give_up(gang.close)
        return result

    def close(self) -> None:
        """End the gang, if there is one."""
        if self._gang is not None:
            self._give_up(self._gang.close)

    def _ready(self, block: int) -> tuple[float | None, Failure | None]:
        """Have a gang that runs: seconds to start it (None: it was there) and what failed."""
        if self._gang is not None and (not self._gang.alive or self._is_due(block)):
            self._give_up(self._gang.close)
        startup_s, failure = None, None
        if self._gang is None:
            began_s = self._clock()
            self._gang = self._make_gang()
            failure = self._gang.start()
            startup_s = self._gang_start_s = self._clock() - began_s
        if block != self._block:
            self._block, self._block_began_s = block, self._clock()
        return startup_s, failure

    def _is_due(self, block: int) -> bool:
        if self._block is None or block == self._block:
            return False
        return restart_is_cheap(self._gang_start_s, self._clock() - self._block_began_s)

    def _result(
        self,
        request: TrialRequest,
        outcome: GangOutcome,
        gang_id: str,
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

    def _give_up(self, end: Callable[[], bool]) -> None:
        self.broken = self.broken or not end()
        self._gang = None


def _ending(outcome: GangOutcome) -> tuple[Status, str | None]:
    if outcome.failure is not None:
        return outcome.failure.status, outcome.failure.detail
    worst: RankReport = min(outcome.reports, key=lambda report: report.status == Status.SUCCEEDED)
    return worst.status, worst.status_detail
