"""What a run adds to a folder before anything starts, and why there may be nothing to do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from ddp_sweep.analysis import Ranking, rank
from ddp_sweep.cluster.ledger import Ledger
from ddp_sweep.cluster.seed_additions import SeedBook, confirmation, more_seeds
from ddp_sweep.errors import DdpSweepError, MoreSeedsError
from ddp_sweep.plan import Plan
from ddp_sweep.results import ResultsFolder
from ddp_sweep.schema import Status

__all__ = ["Additions", "add_confirmation", "idle_because"]


@dataclass(frozen=True, kw_only=True)
class Additions:
    """What a run is to add to a folder that has results, and which changes it accepts."""

    more_seeds: int | None = None
    """Fresh seeds for the configurations that ``only`` names; None for none."""
    only: Literal["undecided", "failed"] | None = None
    """undecided: fresh seeds go to the configurations whose quality is not yet known, and to the
    quality reference. failed: trials that failed for good run anew; no fresh seeds then."""
    extend: bool = False
    """Configurations may have been added to the sweep file."""
    accept_code_change: bool = False
    """The source of the workload may have changed."""

    def __post_init__(self) -> None:
        if self.more_seeds is not None and self.more_seeds < 1:
            raise MoreSeedsError(
                f"received {self.more_seeds} more seeds; allowed: a whole number from 1"
            )
        if self.only == "undecided" and self.more_seeds is None:
            raise MoreSeedsError(
                "--only undecided says which configurations get more seeds; add how many: "
                "--more-seeds 5 --only undecided"
            )
        if self.only == "failed" and self.more_seeds is not None:
            raise MoreSeedsError(
                "--only failed runs failed trials anew with the seeds they had; leave out "
                "--more-seeds, or ask for --only undecided"
            )


def idle_because(
    folder: ResultsFolder,
    asked: Additions,
    book: SeedBook,
    plan_now: Callable[[], Plan],
    *,
    confirm_seeds: int,
    resume_command: str,
) -> str | None:
    """Add the seeds that were asked for; why nothing is to run after that, or None.

    Args:
        folder: Where the results are.
        asked: What to add.
        book: The record of seeds.
        plan_now: The plan with every seed that has been added, whatever the capacity.
        confirm_seeds: Seeds of a confirmation, 0 for none.
        resume_command: How to finish what was begun before.

    Raises:
        MoreSeedsError: There are no results yet, or trials of the seeds there are still to run.
    """
    plan = plan_now()
    ledger = Ledger(folder.read(), failed_too=asked.only == "failed")
    if asked.more_seeds is not None:
        _require_finished(folder, ledger, plan, resume_command)
        seeds = book.fresh(asked.more_seeds)
        addition = more_seeds(rank(folder.path), seeds, undecided=asked.only == "undecided")
        if addition is None:
            return (
                "No configuration is undecided, so no seeds were added and nothing ran. For more "
                "seeds of all of them leave out --only undecided"
            )
        book.add(addition)
        return None
    if ledger.pending(plan.trials) or ledger.without_row(plan.infeasible):
        return None
    if add_confirmation(folder, book, confirm_seeds) is not None:
        return None
    if asked.only == "failed":
        return "No trial has failed; nothing ran"
    count = len(plan.trials) + len(plan.infeasible)
    return (
        f"All {count} trials were done; nothing ran. To run them anew, give another folder with "
        "--output"
    )


def add_confirmation(folder: ResultsFolder, book: SeedBook, seeds: int) -> str | None:
    """Add the seeds that measure the winner anew, where that is due; the winner's name."""
    ranking = _ranking(folder) if seeds else None
    if ranking is None:
        return None
    addition = confirmation(ranking, book.additions, book.fresh(seeds))
    if addition is None:
        return None
    book.add(addition)
    assert ranking.recommendation.fastest is not None
    return ranking.recommendation.fastest.name


def _ranking(folder: ResultsFolder) -> Ranking | None:
    try:
        return rank(folder.path)
    except DdpSweepError:  # such as: no trial has a result
        return None


def _require_finished(
    folder: ResultsFolder, ledger: Ledger, plan: Plan, resume_command: str
) -> None:
    if not ledger.attempts_made:
        raise MoreSeedsError(
            f"{folder.path} holds no results yet that could be looked at; run the sweep first, "
            f"without more seeds: {resume_command}"
        )
    left = [
        trial
        for trial in ledger.pending(plan.trials)
        if (last := ledger.last(trial.trial_id)) is None or last.status != Status.INFEASIBLE
    ]
    if left:
        raise MoreSeedsError(
            f"{len(left)} trials with the seeds that {folder.path} has are still to run; finish "
            f"them first: {resume_command}"
        )
