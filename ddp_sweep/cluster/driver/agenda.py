"""What a run adds to a folder before anything starts, and why there may be nothing to do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from ddp_sweep.analysis import Ranking, rank
from ddp_sweep.cluster.driver.ledger import Ledger
from ddp_sweep.cluster.driver.seed_additions import (
    SeedBook,
    candidate,
    confirmation,
    seeds_for_all,
    seeds_for_undecided,
)
from ddp_sweep.errors import DdpSweepError, MoreSeedsError
from ddp_sweep.plan import Plan
from ddp_sweep.results import Results, ResultsFolder

__all__ = [
    "Additions",
    "Confirmation",
    "add_confirmation",
    "idle_because",
    "nothing_ran",
    "require_results",
]


@dataclass(frozen=True, kw_only=True)
class Additions:
    """What a run is to add to a folder that has results, and which changes it accepts."""

    more_seeds: int | None = None
    """Fresh seeds for the configurations that ``only`` names; None for none."""
    only: Literal["undecided", "failed"] | None = None
    """undecided: fresh seeds go to the configurations whose quality is not yet known, and to the
    quality reference. failed: trials that did not succeed run anew, and nothing else."""
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


@dataclass(frozen=True, kw_only=True)
class Confirmation:
    """Whether the winner of a sweep is to be measured anew."""

    due: bool = False
    """Whether its seeds were added."""
    said: str | None = None
    """What there is to say of it to a person."""


def require_results(folder: ResultsFolder, asked: Additions, resume_command: str) -> None:
    """Refuse to add to a folder that does not exist, before it is made.

    Raises:
        MoreSeedsError: There are no results yet.
    """
    if (asked.more_seeds or asked.only) and not folder.trials.is_dir():
        raise MoreSeedsError(
            f"{folder.path} holds no results yet that could be looked at; run the sweep first, "
            f"without --more-seeds and --only: {resume_command}"
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
        MoreSeedsError: There are no results yet, trials of the seeds there are still to run, or
            no number of seeds would decide.
    """
    plan = plan_now()
    only_failed = asked.only == "failed"
    ledger = Ledger(folder.read(("trials",)), only_failed=only_failed)
    if asked.more_seeds is not None:
        _require_finished(folder, ledger, plan, resume_command)
        return _add_seeds(folder, asked, book, asked.more_seeds)
    if ledger.pending(plan.trials):
        return None
    if only_failed:
        return "No trial has failed; nothing ran"
    if ledger.newly_infeasible(plan.infeasible):
        return None
    confirming = add_confirmation(folder, book, confirm_seeds)
    if confirming.due:
        return None
    text = nothing_ran(plan)
    return text if confirming.said is None else f"{text}. {confirming.said}"


def nothing_ran(plan: Plan) -> str:
    """What to say of a sweep that was done before this run."""
    count = len(plan.trials) + len(plan.infeasible)
    return (
        f"All {count} trials were done; nothing ran. To run them anew, give another folder with "
        "--output"
    )


def _add_seeds(folder: ResultsFolder, asked: Additions, book: SeedBook, count: int) -> str | None:
    seeds = book.fresh(count)
    if asked.only != "undecided":
        book.add(seeds_for_all(folder.read(("trials",)), seeds))
        return None
    addition = seeds_for_undecided(rank(folder.path), seeds)
    if addition is None:
        return (
            "No configuration is undecided, so no seeds were added and nothing ran. For more "
            "seeds of all of them leave out --only undecided"
        )
    book.add(addition)
    return None


def add_confirmation(folder: ResultsFolder, book: SeedBook, seeds: int) -> Confirmation:
    """Add the seeds that measure the winner anew, where that is due."""
    results = folder.read(("trials", "evals"))
    ranking = _ranking(results) if seeds else None
    winner = None if ranking is None else candidate(ranking)
    if ranking is None or winner is None:
        return Confirmation()
    addition = confirmation(ranking, results, book.fresh(seeds))
    if addition is not None:
        book.add(addition)
        return Confirmation(due=True, said=f"measuring {winner.name} anew, with fresh seeds")
    if winner.configuration_id == ranking.baseline.configuration_id:
        said = f"{winner.name} is what the others are compared with: nothing to confirm"
        return Confirmation(said=said)
    if winner is ranking.recommendation.next_candidate:
        said = (
            f"fresh seeds did not confirm the winner. Next is {winner.name}; it is measured anew "
            f"once all have had more seeds: --more-seeds {seeds}"
        )
        return Confirmation(said=said)
    return Confirmation()


def _ranking(results: Results) -> Ranking | None:
    try:
        return rank(results)
    except DdpSweepError:  # such as: no trial has a result
        return None


def _require_finished(
    folder: ResultsFolder, ledger: Ledger, plan: Plan, resume_command: str
) -> None:
    if not ledger.attempts_made:
        raise MoreSeedsError(
            f"{folder.path} holds no results yet that could be looked at; run the sweep first, "
            f"without --more-seeds: {resume_command}"
        )
    left = ledger.unfinished(plan.trials)
    if left:
        raise MoreSeedsError(
            f"{len(left)} trials with the seeds that {folder.path} has are still to run; finish "
            f"them first: {resume_command}"
        )
