from __future__ import annotations

import pytest
from plan_samples import trials

from ddp_sweep.cluster.progress import ProgressLines, trial_line
from ddp_sweep.cluster.schedule import Assignment
from ddp_sweep.cluster.tuning import Ended

TRIAL = next(trial for trial in trials() if trial.world_size == 2)
ASSIGNMENT = Assignment(index=0, trial=TRIAL, attempt=1)


def test_a_line_says_which_trial_it_was_and_how_it_ended() -> None:
    ended = Ended(status="succeeded", wall_time_s=1.94)
    line = trial_line(ASSIGNMENT, ended, again=False, number=7, planned=20)
    assert line == f"[7 of 20] 2 workers x 4, seed {TRIAL.seed}: 1.9 s, succeeded"


def test_a_failure_says_why_and_that_it_is_tried_again() -> None:
    ended = Ended(status="worker_died", status_detail="rank 1:\n  file.py\nValueError: boom")
    line = trial_line(ASSIGNMENT, ended, again=True, number=7, planned=20)
    assert line.endswith("lost a worker (ValueError: boom); trying again")


def test_only_trials_that_are_done_are_counted(capsys: pytest.CaptureFixture[str]) -> None:
    lines = ProgressLines(mode="plain", planned=3, done=1)
    lines.ended(ASSIGNMENT, Ended(status="worker_died"), again=True)
    lines.ended(ASSIGNMENT, Ended(status="succeeded"), again=False)
    printed = capsys.readouterr()
    assert [line.split("]")[0] for line in printed.err.splitlines()] == ["[1 of 3", "[2 of 3"]
    assert printed.out == ""


def test_nothing_is_printed_where_it_is_not_wanted(capsys: pytest.CaptureFixture[str]) -> None:
    ProgressLines(mode="none", planned=1, done=0).say("hello")
    assert capsys.readouterr() == ("", "")
