"""No attempt is without its row, whatever became of the run that began it."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil
import pytest
from live_events import began, followed, heard, plan_event
from plan_samples import FACTS, spec, trials

from ddp_sweep.cluster.driver.attempts import Attempts, CommitForDriver
from ddp_sweep.errors import RecordedError, ResultsWarning
from ddp_sweep.live import Progress
from ddp_sweep.live.record import write_record
from ddp_sweep.live.trials import planned
from ddp_sweep.plan import build_plan
from ddp_sweep.reporter import AttemptResult, Reporter
from ddp_sweep.results import ResultsFolder, load_results
from ddp_sweep.results.lock import Holder
from ddp_sweep.schema import Status

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


@pytest.fixture
def reporter(tmp_path: Path) -> Reporter:
    return Reporter(ResultsFolder(tmp_path), FACTS)


def end(reporter: Reporter, attempt: int, status: Status = Status.SUCCEEDED) -> None:
    reporter.commit(
        AttemptResult(trial=trials()[0], attempt=attempt, status=status, finished_at=NOON)
    )


def test_what_was_begun_and_never_ended_gets_the_row_of_its_own_run(reporter: Reporter) -> None:
    folder, trial = reporter.folder, trials()[0]
    killed = Reporter(folder, replace(FACTS, session_id="killed", code_version="old:1"))
    Attempts(folder, killed).begin(trial, 1)

    assert Attempts(folder, reporter).settle() == 1

    (row,) = load_results(folder.path).trials.to_dict("records")
    same = {
        name: row[name] for name in ("trial_id", "configuration_id", "world_size", "seed", "block")
    }
    assert same == {name: getattr(trial, name) for name in same}
    assert (row["attempt"], row["status"]) == (1, "interrupted")
    assert (row["session_id"], row["code_version"]) == ("killed", "old:1")
    assert row["started_at"] is None or row["started_at"] != row["started_at"]
    assert datetime.now(UTC) - row["finished_at"] < timedelta(minutes=5)
    assert Attempts(folder, reporter).settle() == 0
    assert list(folder.attempts.iterdir()) == []


def test_when_it_began_and_was_last_heard_of_is_taken_from_the_record(reporter: Reporter) -> None:
    folder = reporter.folder
    plan = planned(build_plan(spec(), capacity=None, train_lengths=512))
    told = Progress(stage="training", at_s=2e9 + 5, began_s=2e9)
    events = [plan_event(plan), began(plan[0]), heard(plan[0], told)]
    write_record(folder, followed(events), now_s=2e9 + 6, resume_command="")
    for trial in trials()[:2]:
        Attempts(folder, reporter).begin(trial, 1)

    assert Attempts(folder, reporter).settle() == 2

    rows = load_results(folder.path).trials.set_index("trial_id")
    known, other = rows.loc[plan[0].trial_id], rows.loc[plan[1].trial_id]
    assert known["started_at"].timestamp() == 2e9
    assert known["finished_at"].timestamp() == 2e9 + 6
    assert other["started_at"] is not known["started_at"] and other["started_at"] != 2e9


def test_an_attempt_that_has_its_row_is_left_as_it_is(reporter: Reporter) -> None:
    """The run was killed between the row and striking the attempt off."""
    attempts = Attempts(reporter.folder, reporter)
    attempts.begin(trials()[0], 1)
    end(reporter, 1)
    before = reporter.folder.attempt_file("trials", trials()[0].trial_id, 1).read_bytes()

    assert attempts.settle() == 0

    after = reporter.folder.attempt_file("trials", trials()[0].trial_id, 1).read_bytes()
    assert after == before
    assert list(reporter.folder.attempts.iterdir()) == []


def test_of_two_that_end_one_attempt_the_first_stands(reporter: Reporter) -> None:
    attempts = Attempts(reporter.folder, reporter)
    attempts.begin(trials()[0], 1)
    assert attempts.settle() == 1
    with pytest.raises(RecordedError):
        end(reporter, 1)
    assert list(load_results(reporter.folder.path).trials["status"]) == ["interrupted"]
    assert not list(reporter.folder.trials.glob(".*"))


def test_what_fails_since_its_driver_was_killed_is_no_result(reporter: Reporter) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        started_s = psutil.Process(process.pid).create_time()
        driver = replace(Holder.myself(), process=process.pid, process_started_s=started_s)
        commit = CommitForDriver(reporter, driver)
        for attempt, killed in ((1, False), (2, True)):
            if killed:
                process.kill()
                process.wait()
            commit(AttemptResult(trial=trials()[0], attempt=attempt, status=Status.WORKER_DIED))
    commit(AttemptResult(trial=trials()[0], attempt=3, status=Status.SUCCEEDED))
    rows = load_results(reporter.folder.path).trials
    assert dict(zip(rows["attempt"], rows["status"], strict=True)) == {
        1: "worker_died",
        3: "succeeded",
    }


def test_a_record_that_did_not_reach_the_disk_is_no_attempt(reporter: Reporter) -> None:
    attempts = Attempts(reporter.folder, reporter)
    attempts.begin(trials()[0], 1)
    reporter.folder.attempt_record(trials()[0].trial_id, 1).write_text("")
    assert attempts.settle() == 0
    assert list(reporter.folder.attempts.iterdir()) == []


@pytest.mark.parametrize(
    "damage",
    [
        {"world_size": "two"},
        {"world_size": None},
        {"trial_id": 7},
        {"attempt": 2},
        {"finished_at": "noon"},
        {"status": None},
        [],
    ],
)
def test_a_record_that_describes_no_attempt_is_moved_and_named(
    reporter: Reporter, damage: object
) -> None:
    attempts = Attempts(reporter.folder, reporter)
    for trial in trials()[:2]:
        attempts.begin(trial, 1)
    record = reporter.folder.attempt_record(trials()[0].trial_id, 1)
    known = json.loads(record.read_text())
    record.write_text(json.dumps(known | damage if isinstance(damage, dict) else damage))

    with pytest.warns(ResultsWarning, match=f"{record.name} was moved to .*no attempt"):
        assert attempts.settle() == 1

    assert list(load_results(reporter.folder.path).trials["trial_id"]) == [trials()[1].trial_id]
    assert (reporter.folder.quarantine / "_attempts" / record.name).exists()


def test_numbers_of_attempts_have_no_gap(reporter: Reporter) -> None:
    for attempt in (1, 3):
        end(reporter, attempt, Status.WORKER_DIED)

    assert Attempts(reporter.folder, reporter).settle() == 1

    rows = load_results(reporter.folder.path).trials.sort_values("attempt")
    assert list(rows["attempt"]) == [1, 2, 3]
    assert list(rows["status"]) == ["worker_died", "interrupted", "worker_died"]
    for same in ("trial_id", "configuration_id", "seed", "parameters", "world_size"):
        assert rows[same].nunique() == 1


def test_what_is_struck_off_leaves_nothing(reporter: Reporter) -> None:
    attempts = Attempts(reporter.folder, reporter)
    began_s = time.perf_counter()
    for _ in range(100):
        attempts.begin(trials()[0], 1)
        attempts.end(trials()[0].trial_id, 1)
    print(f"{(time.perf_counter() - began_s) * 10:.2f} ms an attempt")
    assert list(reporter.folder.attempts.iterdir()) == []
    attempts.end(trials()[0].trial_id, 1)
