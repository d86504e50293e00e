"""What a results folder already holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow.parquet as pq

from ddp_sweep.plan import InfeasibleTrial, Plan, Trial
from ddp_sweep.results import Results, ResultsFolder
from ddp_sweep.schema import Status, is_to_rerun

__all__ = ["Ledger", "Recorded", "attempt_recorded"]


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """The last attempt at a trial that a results folder holds."""

    attempt: int
    status: str
    status_detail: str | None
    began: bool = True
    """False where there never were workers to run it."""

    @property
    def to_rerun(self) -> bool:
        """Whether a resumed sweep runs the trial again."""
        # What did not fit then is in the plan only where it fits now.
        return self.status == Status.INFEASIBLE or is_to_rerun(
            self.status, self.status_detail, began=self.began
        )


class Ledger:
    """The last attempt at each trial of a results folder, by trial_id.

    Args:
        results: What the folder holds.
        only_failed: Whether what is to be run are the trials that did not succeed, those that
            failed for good among them, and no others.
    """

    def __init__(self, results: Results, *, only_failed: bool = False) -> None:
        self._only_failed = only_failed
        final = results.trials[results.trials["final"].astype(bool)]
        names = ["trial_id", "attempt", "status", "status_detail", "started_at"]
        columns = final[names].astype(object)
        rows = columns.where(columns.notna(), None).itertuples(index=False, name=None)
        self._last = {
            str(trial): Recorded(
                attempt=int(attempt),
                status=str(status),
                status_detail=detail,
                began=started_at is not None,
            )
            for trial, attempt, status, detail, started_at in rows
        }

    @property
    def attempts_made(self) -> dict[str, int]:
        """Number of the last attempt at each trial."""
        return {trial: last.attempt for trial, last in self._last.items()}

    def last(self, trial_id: str) -> Recorded | None:
        """The last attempt at a trial."""
        return self._last.get(trial_id)

    def pending(self, trials: Sequence[Trial]) -> tuple[Trial, ...]:
        """Those that have no result yet, or one to be had anew, in their order."""
        return tuple(trial for trial in trials if self._is_open(trial.trial_id))

    def unfinished(self, trials: Sequence[Trial]) -> tuple[Trial, ...]:
        """Those that have not had their attempts yet: not begun, or interrupted."""
        endings = ((trial, self._last.get(trial.trial_id)) for trial in trials)
        return tuple(
            trial for trial, last in endings if last is None or last.status == Status.INTERRUPTED
        )

    def newly_infeasible(self, trials: Sequence[InfeasibleTrial]) -> tuple[InfeasibleTrial, ...]:
        """Those of which the folder says nothing yet, or only that they are to be run again."""
        known = ((trial, self._last.get(trial.trial_id)) for trial in trials)
        return tuple(
            trial
            for trial, last in known
            if last is None or (last.to_rerun and last.status != Status.INFEASIBLE)
        )

    def statuses(self, plan: Plan) -> list[str]:
        """Of the trials of a plan that have a result which stays."""
        infeasible = [trial.trial_id for trial in plan.infeasible]
        done = [trial.trial_id for trial in plan.trials if not self._is_open(trial.trial_id)]
        ids = done + infeasible
        return [self._last[one].status for one in ids if one in self._last]

    def endings(self, plan: Plan) -> list[str | None]:
        """How the last attempt at each planned trial ended; None where there was none."""
        ids = [one.trial_id for one in plan.trials] + [one.trial_id for one in plan.infeasible]
        known = [self._last.get(one) for one in ids]
        return [None if last is None else last.status for last in known]

    def _is_open(self, trial_id: str) -> bool:
        last = self._last.get(trial_id)
        if self._only_failed:
            return last is not None and last.status != Status.SUCCEEDED
        return last is None or last.to_rerun


def attempt_recorded(folder: ResultsFolder, trial_id: str, attempt: int) -> Recorded | None:
    """What the folder holds of one attempt; None where its row was not written."""
    file = folder.attempt_file("trials", trial_id, attempt)
    if not file.exists():
        return None
    columns = ["status", "status_detail", "started_at"]
    row = pq.read_table(file, columns=columns).to_pylist()[0]
    return Recorded(
        attempt=attempt,
        status=row["status"],
        status_detail=row["status_detail"],
        began=row["started_at"] is not None,
    )
