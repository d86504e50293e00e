"""Attempts of which no result came: what drives the workers died, or the run was stopped."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime

from ddp_sweep.cluster.driver.attempts import Attempts
from ddp_sweep.cluster.driver.feed import Feed
from ddp_sweep.cluster.driver.ledger import attempt_recorded
from ddp_sweep.cluster.lane.schedule import Assignment
from ddp_sweep.cluster.lane.tuning import Ended
from ddp_sweep.errors import RecordedError
from ddp_sweep.reporter import AttemptResult, Reporter
from ddp_sweep.schema import Status

__all__ = ["Recovery"]


@dataclass(frozen=True)
class Recovery:
    """Finds out how attempts ended that were handed out, and gives those a row that have none."""

    reporter: Reporter
    attempts: Attempts
    feed: Feed
    """Its board says what the workers were given last, also once they are gone."""

    def __call__(
        self,
        assignment: Assignment,
        status: Status = Status.WORKER_DIED,
        detail: str = "the process that drives the workers died",
    ) -> Ended:
        """How an attempt ended; as given where it left no row of its own."""
        trial, attempt = assignment.trial, assignment.attempt
        folder, board = self.reporter.folder, self.feed.board
        began_at = None if board is None else board.began_at(trial.trial_id, attempt)
        lost = AttemptResult(
            trial=trial,
            attempt=attempt,
            status=status,
            status_detail=detail,
            # Without it this would pass for workers that did not start, which ends the sweep.
            started_at=began_at,
            finished_at=datetime.now(UTC),
        )
        if attempt_recorded(folder, trial.trial_id, attempt) is None:
            # The row alone: workers on their way out may have written a success meanwhile, which
            # stands, and its curves with it.
            with suppress(RecordedError):
                self.reporter.commit_row(self.reporter.trial_row(lost))
        self.attempts.end(trial.trial_id, attempt)
        recorded = attempt_recorded(folder, trial.trial_id, attempt)
        assert recorded is not None
        return Ended(
            status=recorded.status, status_detail=recorded.status_detail, began=recorded.began
        )
