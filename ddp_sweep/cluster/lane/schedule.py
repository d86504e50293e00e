"""Which attempts come next: plan order, retries in place, draining. Decides only."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ddp_sweep.plan import Trial
from ddp_sweep.schema import Status, is_transient

__all__ = ["Assignment", "Schedule"]


@dataclass(frozen=True, kw_only=True)
class Assignment:
    """One attempt at one trial that is to run now."""

    index: int
    """Place of the trial among those of this schedule."""
    trial: Trial
    attempt: int
    fresh_workers: bool = False
    """Whether only workers that have run nothing yet can tell how it ends."""


class Schedule:
    """Hands out attempts, as many at a time as may run side by side.

    Args:
        trials: Trials to run, in order.
        attempts_made: Attempts at a trial in earlier sessions, by trial_id.
        max_attempts: Attempts at a trial in this session.
        side_by_side: How many attempts may run at once.
    """

    def __init__(
        self,
        trials: Sequence[Trial],
        attempts_made: Mapping[str, int],
        max_attempts: int,
        side_by_side: int = 1,
    ) -> None:
        self.side_by_side = side_by_side
        self._trials = trials
        self._made = attempts_made
        self._max_attempts = max_attempts
        self._fresh = 0
        """Place of the first trial that has not been handed out yet."""
        self._again: deque[int] = deque()
        self._tries: dict[int, int] = {}
        self._short_of_memory: set[int] = set()
        self._draining = False
        self._running: dict[int, Assignment] = {}

    @property
    def running(self) -> tuple[Assignment, ...]:
        """What was handed out and has not ended, in the order of handing out."""
        return tuple(self._running.values())

    @property
    def finished(self) -> bool:
        """Whether nothing more will be handed out, whatever becomes of what runs."""
        return self._draining or not (self._waiting or self._running)

    @property
    def ready(self) -> bool:
        """Whether an attempt can be handed out now."""
        room = len(self._running) < self.side_by_side
        return room and self._waiting and not self._draining

    @property
    def remaining(self) -> int:
        """Trials that have not had their last attempt."""
        return len(self._trials) - self._fresh + len(self._again) + len(self._running)

    @property
    def _waiting(self) -> bool:
        return bool(self._again) or self._fresh < len(self._trials)

    def next(self) -> Assignment:
        """The next attempt; only when one is ready. Those to be tried again come first."""
        assert self.ready
        if self._again:
            index = self._again.popleft()
        else:
            index = self._fresh
            self._fresh += 1
        self._tries[index] = self._tries.get(index, 0) + 1
        trial = self._trials[index]
        attempt = self._made.get(trial.trial_id, 0) + self._tries[index]
        self._running[index] = Assignment(
            index=index,
            trial=trial,
            attempt=attempt,
            fresh_workers=index in self._short_of_memory,
        )
        return self._running[index]

    def withdraw(self, assignment: Assignment) -> None:
        """An attempt that was handed out was not begun after all, and nothing more is."""
        del self._running[assignment.index]
        self._tries[assignment.index] -= 1
        self._again.appendleft(assignment.index)
        self.drain()

    def ended(
        self, assignment: Assignment, status: str, detail: str | None, *, final: bool = False
    ) -> bool:
        """An attempt that was running has ended; whether the same trial is tried again.

        Args:
            assignment: The attempt.
            status: How it ended.
            detail: More of that.
            final: Whether another attempt is out of the question.
        """
        del self._running[assignment.index]
        tries = self._tries[assignment.index]
        again = not final and is_transient(status, detail) and tries < self._max_attempts
        if again:
            self._again.append(assignment.index)
        if again and status == Status.OUT_OF_MEMORY:
            self._short_of_memory.add(assignment.index)
        return again

    def drain(self) -> None:
        """Hand out nothing more."""
        self._draining = True
