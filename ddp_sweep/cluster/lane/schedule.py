"""Which attempt comes next: plan order, retries in place, draining. Decides only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ddp_sweep.plan import Trial
from ddp_sweep.schema import is_transient

__all__ = ["Assignment", "Schedule"]


@dataclass(frozen=True, kw_only=True)
class Assignment:
    """One attempt at one trial that is to run now."""

    index: int
    """Place of the trial among those of this session."""
    trial: Trial
    attempt: int


class Schedule:
    """Hands out attempts one at a time.

    Args:
        trials: Trials to run, in order.
        attempts_made: Attempts at a trial in earlier sessions, by trial_id.
        max_attempts: Attempts at a trial in this session.
    """

    def __init__(
        self, trials: Sequence[Trial], attempts_made: Mapping[str, int], max_attempts: int
    ) -> None:
        self._trials = trials
        self._made = attempts_made
        self._max_attempts = max_attempts
        self._index = 0
        self._tries = 0
        self._draining = False
        self.running: Assignment | None = None

    @property
    def finished(self) -> bool:
        """Whether nothing is left to hand out."""
        return self._draining or self._index >= len(self._trials)

    @property
    def remaining(self) -> int:
        """Trials that have not had their last attempt."""
        return len(self._trials) - self._index

    def next(self) -> Assignment:
        """The next attempt; only when nothing runs and the schedule is not finished."""
        assert self.running is None and not self.finished
        self._tries += 1
        trial = self._trials[self._index]
        attempt = self._made.get(trial.trial_id, 0) + self._tries
        self.running = Assignment(index=self._index, trial=trial, attempt=attempt)
        return self.running

    def withdraw(self) -> None:
        """The attempt handed out last was not begun after all, and nothing more is."""
        assert self.running is not None
        self.running = None
        self._tries -= 1
        self.drain()

    def ended(self, status: str, detail: str | None) -> bool:
        """The running attempt has ended; whether the same trial is tried again."""
        assert self.running is not None
        self.running = None
        again = is_transient(status, detail) and self._tries < self._max_attempts
        if not again:
            self._index += 1
            self._tries = 0
        return again

    def drain(self) -> None:
        """Hand out nothing more."""
        self._draining = True
