"""What a run says while it works, and at its end, for a person."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ddp_sweep.cluster.schedule import Assignment
from ddp_sweep.cluster.tuning import Ended
from ddp_sweep.schema import Status

__all__ = ["Progress", "ProgressLines", "summary"]

Progress = Literal["auto", "plain", "none"]
"""auto and plain: a line each; none: silence."""

_WORDS = {
    Status.SUCCEEDED: "succeeded",
    Status.OUT_OF_MEMORY: "out of memory",
    Status.DIVERGED: "diverged",
    Status.WORKER_DIED: "lost a worker",
    Status.NODE_LOST: "lost a node",
    Status.TIMED_OUT: "timed out",
    Status.INFEASIBLE: "not feasible",
    Status.WORKLOAD_ERROR: "error in the workload",
    Status.INTERRUPTED: "interrupted",
}


@dataclass
class ProgressLines:
    """One plain line on stderr for each attempt that has ended."""

    mode: Progress
    planned: int
    """Trials of the whole sweep."""
    done: int
    """Trials among them that have a result."""

    def say(self, text: str) -> None:
        """Print a line, unless progress is not wanted."""
        if self.mode != "none":
            print(text, file=sys.stderr, flush=True)

    def ended(self, assignment: Assignment, ended: Ended, again: bool) -> None:
        """An attempt has ended."""
        self.done += not again
        self.say(trial_line(assignment, ended, again, number=self.done, planned=self.planned))


def trial_line(
    assignment: Assignment, ended: Ended, again: bool, *, number: int, planned: int
) -> str:
    """The line of one attempt: which trial of how many, what it was, how long, how it ended."""
    trial = assignment.trial
    workers = "1 worker" if trial.world_size == 1 else f"{trial.world_size} workers"
    batch = f"{trial.per_worker_batch_size}"
    if trial.accumulation_steps > 1:
        batch += f" x {trial.accumulation_steps} steps"
    time = "" if ended.wall_time_s is None else f"{ended.wall_time_s:.1f} s, "
    text = f"[{number} of {planned}] {workers} x {batch}, seed {trial.seed}: {time}"
    text += _WORDS[Status(ended.status)]
    if ended.status != Status.SUCCEEDED and ended.status_detail:
        # Of an error the last line says what it is, those before where.
        text += f" ({ended.status_detail.splitlines()[-1].strip()})"
    return text + ("; trying again" if again else "")


def summary(statuses: Sequence[str], planned: int) -> str:
    """How far a sweep is, in a sentence.

    >>> summary(["succeeded", "succeeded", "diverged"], 4)
    '3 of 4 trials have a result: 2 succeeded, 1 diverged'
    """
    counts = Counter(statuses)
    listed = ", ".join(f"{counts[one]} {word}" for one, word in _WORDS.items() if counts[one])
    done = f"{len(statuses)} of {planned} trials have a result"
    return f"{done}: {listed}" if listed else done
