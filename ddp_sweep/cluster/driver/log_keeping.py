"""The driver's part in the logs of trials: their first and last lines, and what failures show."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from ddp_sweep.cluster.lane.schedule import Assignment
from ddp_sweep.cluster.lane.tuning import Ended
from ddp_sweep.live import LastOutput, PlannedTrial
from ddp_sweep.live.wording import STATUS_WORDS, cause, guilty_rank
from ddp_sweep.results import ResultsFolder
from ddp_sweep.results.logs import TrialLogs, short_id
from ddp_sweep.schema import Status

__all__ = ["LogKeeper"]

_MOST_LINES = 6
_NOTHING_TO_EXPLAIN = (
    Status.SUCCEEDED,
    Status.INFEASIBLE,
    # Expected limits: the status says it all, and a sweep may find many of them.
    Status.OUT_OF_MEMORY,
    Status.DIVERGED,
    Status.INTERRUPTED,
)


@dataclass(frozen=True)
class LogKeeper:
    """Begins and ends the log of each attempt.

    Attributes:
        folder: Of the results.
        trials: Those of the plan by their ids, for their names.
        running: Ids of the trials that have begun and not ended.
    """

    folder: ResultsFolder
    trials: Mapping[str, PlannedTrial]
    running: set[str] = field(default_factory=set)

    @classmethod
    def of(cls, folder: ResultsFolder, trials: Iterable[PlannedTrial]) -> Self:
        """For a run of a sweep that is about to begin."""
        with suppress(OSError):  # of a run that was killed
            TrialLogs(folder.logs).forget_starting()
        return cls(folder, {one.trial_id: one for one in trials})

    @property
    def logs(self) -> TrialLogs:
        """All logs of the sweep."""
        return TrialLogs(self.folder.logs)

    def begin(self, assignment: Assignment) -> None:
        """An attempt was handed out."""
        trial = assignment.trial
        self.running.add(trial.trial_id)
        name = f"{self.trials[trial.trial_id].name}, seed {trial.seed}"
        self.logs.begin(trial.trial_id, assignment.attempt, name, datetime.now(UTC))

    def end(self, assignment: Assignment, ended: Ended) -> LastOutput | None:
        """An attempt has ended; what its workers printed last, where that may say why."""
        trial_id, attempt = assignment.trial.trial_id, assignment.attempt
        self.running.discard(trial_id)
        self._adopt_starting(trial_id, attempt, ended.workers)
        self.logs.end(trial_id, attempt, _outcome(ended), datetime.now(UTC))
        if ended.status in _NOTHING_TO_EXPLAIN:
            return None
        rank = guilty_rank(ended.status_detail)
        return LastOutput(
            lines=self.logs.last_lines(trial_id, attempt, _MOST_LINES, rank),
            command=shlex.join(
                ["ddp-sweep", "logs", _short(self.folder.path), short_id(trial_id, self.trials)]
            ),
        )

    def _adopt_starting(self, trial_id: str, attempt: int, workers: str | None) -> None:
        """Add what its workers printed that never came to have it.

        Beside other trials only what is known to be of its own ones: theirs may be starting.
        """
        if not self.running:
            self.logs.adopt_starting(trial_id, attempt)
        elif workers is not None:
            self.logs.adopt_starting(trial_id, attempt, workers)


def _outcome(ended: Ended) -> str:
    words = STATUS_WORDS[Status(ended.status)]
    if ended.wall_time_s is not None:
        words += f", {ended.wall_time_s:.1f} s"
    why = None if ended.status == Status.SUCCEEDED else cause(ended.status_detail)
    return f"{words}: {why}" if why else words


def _short(path: Path) -> str:
    """A path from here, where it lies below."""
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)
