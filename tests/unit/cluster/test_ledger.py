from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from plan_samples import FACTS, plan, spec, trials

from ddp_sweep.cluster.driver.ledger import Ledger, attempt_recorded
from ddp_sweep.cluster.driver.settlement import settle_spec
from ddp_sweep.errors import SpecChangedError
from ddp_sweep.live.trials import past_attempts
from ddp_sweep.plan import Trial
from ddp_sweep.reporter import AttemptResult, Reporter
from ddp_sweep.results import ResultsFolder
from ddp_sweep.schema import STALLED, Status

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def write(
    folder: ResultsFolder,
    trial: Trial,
    status: Status,
    *,
    attempt: int = 1,
    detail: str = "",
    began: bool = True,
) -> None:
    Reporter(folder, FACTS).commit(
        AttemptResult(
            trial=trial,
            attempt=attempt,
            status=status,
            status_detail=detail or None,
            started_at=NOON if began else None,
            finished_at=NOON,
        )
    )


def ledger_of(folder: ResultsFolder) -> Ledger:
    return Ledger(folder.read())


def test_what_has_a_result_is_not_run_again_and_what_was_lost_is(tmp_path: Path) -> None:
    folder = ResultsFolder(tmp_path)
    planned = trials(seeds=5)
    ends = [
        (Status.SUCCEEDED, "", False),
        (Status.WORKLOAD_ERROR, "boom", False),
        (Status.OUT_OF_MEMORY, "", False),
        (Status.DIVERGED, "", False),
        (Status.TIMED_OUT, "over trial_timeout_s", False),
        (Status.TIMED_OUT, f"{STALLED}no progress", True),
        (Status.WORKER_DIED, "", True),
        (Status.NODE_LOST, "", True),
        (Status.INTERRUPTED, "", True),
    ]
    for trial, (status, detail, _) in zip(planned, ends, strict=False):
        write(folder, trial, status, detail=detail)
    expected = [t for t, (_, _, again) in zip(planned, ends, strict=False) if again]
    assert list(ledger_of(folder).pending(planned)) == [*expected, planned[-1]]


def test_a_workload_that_could_not_be_loaded_somewhere_is_tried_by_the_next_run(
    tmp_path: Path,
) -> None:
    """The package that one node lacked may be installed by then."""
    folder = ResultsFolder(tmp_path)
    first, second = trials(seeds=1)
    detail = "rank 1: while starting: No module named 'timm'"
    write(folder, first, Status.WORKLOAD_ERROR, detail=detail, began=False)
    write(folder, second, Status.WORKLOAD_ERROR, detail="rank 1: boom")
    ledger = ledger_of(folder)
    assert ledger.pending([first, second]) == (first,)
    assert ledger.statuses(plan(seeds=1)) == ["workload_error"], "of the second alone"
    # What shows how a sweep stands says the same.
    past = past_attempts(folder.read(("trials",)).trials)
    assert {one.trial_id for one in past if one.to_rerun} == {first.trial_id}


def test_the_last_attempt_counts(tmp_path: Path) -> None:
    folder = ResultsFolder(tmp_path)
    first, second = trials(seeds=1)
    write(folder, first, Status.WORKER_DIED)
    write(folder, first, Status.SUCCEEDED, attempt=2)
    write(folder, second, Status.INTERRUPTED, attempt=3)
    ledger = ledger_of(folder)
    assert ledger.pending([first, second]) == (second,)
    assert ledger.attempts_made == {first.trial_id: 2, second.trial_id: 3}
    assert ledger.statuses(plan(seeds=1)) == ["succeeded"]
    # Nothing is glossed over: what is to be run again has ended all the same.
    assert ledger.endings(plan(seeds=1)) == ["succeeded", "interrupted"]
    assert ledger.endings(plan(seeds=2)).count(None) == 2


def test_an_infeasible_trial_is_written_once_and_run_where_it_fits(tmp_path: Path) -> None:
    folder = ResultsFolder(tmp_path)
    small, large = plan(seeds=1, capacity=1), plan(seeds=1)
    folder.path.mkdir(exist_ok=True)
    assert ledger_of(folder).newly_infeasible(small.infeasible) == small.infeasible
    for infeasible in small.infeasible:
        Reporter(folder, FACTS).commit_infeasible(infeasible, NOON)
    ledger = ledger_of(folder)
    assert ledger.newly_infeasible(small.infeasible) == ()
    assert ledger.statuses(small) == ["infeasible"]
    assert ledger.pending(large.trials) == large.trials


def test_an_attempt_is_recorded_from_the_moment_its_row_is_written(tmp_path: Path) -> None:
    folder = ResultsFolder(tmp_path)
    trial = trials()[0]
    assert attempt_recorded(folder, trial.trial_id, 1) is None
    write(folder, trial, Status.DIVERGED, detail="loss is nan")
    recorded = attempt_recorded(folder, trial.trial_id, 1)
    assert recorded is not None
    assert (recorded.status, recorded.status_detail) == ("diverged", "loss is nan")
    assert attempt_recorded(folder, trial.trial_id, 2) is None


def test_the_sweep_file_is_kept_and_a_change_is_named(tmp_path: Path) -> None:
    folder = ResultsFolder(tmp_path)
    settle_spec(folder.read(("trials",)), spec(seeds=2))
    # Nothing was measured yet: a change costs nothing.
    settle_spec(folder.read(("trials",)), spec(seeds=1))
    write(folder, trials(seeds=1)[0], Status.SUCCEEDED)
    settle_spec(folder.read(("trials",)), spec(seeds=1))
    with pytest.raises(SpecChangedError, match=r"sweep.world_size: \[1, 2\] there, \[4\] now"):
        settle_spec(folder.read(("trials",)), spec(seeds=1, world_sizes=(4,)))
