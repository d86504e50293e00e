"""What a run leaves for ``status``, also when it is killed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from live_events import began, followed, grid, heard, plan_event, training

from ddp_sweep.live import BatchAxis
from ddp_sweep.live.record import (
    RecordedPlan,
    read_plan,
    read_record,
    write_plan,
    write_record,
)
from ddp_sweep.results import ResultsFolder

TRIALS = grid((1, 2), (32,), seeds=2)
BY_ID = {one.trial_id: one for one in TRIALS}


@pytest.fixture
def folder(tmp_path: Path) -> ResultsFolder:
    return ResultsFolder(tmp_path)


def test_what_is_written_is_read(folder: ResultsFolder) -> None:
    plan = plan_event(TRIALS, axis=BatchAxis.GLOBAL)
    events = [plan, began(TRIALS[1]), heard(TRIALS[1], training())]
    overview = followed(events)
    write_plan(folder, plan)
    write_record(folder, overview, now_s=77.0, resume_command="ddp-sweep run x.yaml")

    assert read_plan(folder) == RecordedPlan(trials=plan.trials, batch_axis=BatchAxis.GLOBAL)
    record = read_record(folder)
    assert record is not None
    assert record.running(BY_ID) == overview.running
    assert (record.stage, record.updated_s) == ("running", 77.0)
    assert record.resume_command == "ddp-sweep run x.yaml"
    # Nothing that another reader of the folder would take for results, and nothing half written.
    assert sorted(file.name for file in folder.path.iterdir()) == ["_plan.json", "_progress.json"]


def test_between_trials_nothing_runs(folder: ResultsFolder) -> None:
    write_record(folder, followed([plan_event(TRIALS)]), now_s=1.0, resume_command="")
    record = read_record(folder)
    assert record is not None and record.running(BY_ID) == ()


@pytest.mark.parametrize("text", ["", "[]", '{"version": 99}', '{"version": 2}', "{"])
def test_files_that_cannot_be_read_are_as_none(folder: ResultsFolder, text: str) -> None:
    for file in (folder.plan_file, folder.progress_file):
        file.write_text(text)
    assert read_plan(folder) is None
    assert read_record(folder) is None


def test_a_disk_that_cannot_be_written_to_hurts_nobody(tmp_path: Path) -> None:
    folder = ResultsFolder(tmp_path / "gone")
    write_plan(folder, plan_event(TRIALS))
    write_record(folder, followed([]), now_s=1.0, resume_command="")
    assert not folder.path.exists()


def test_several_running_trials_and_how_many_run_at_once_are_kept(folder: ResultsFolder) -> None:
    plan = replace(plan_event(TRIALS), side_by_side={1: 4, 2: 2})
    overview = followed([plan, began(TRIALS[0]), began(TRIALS[2]), heard(TRIALS[2], training())])
    write_plan(folder, plan)
    write_record(folder, overview, now_s=1.0, resume_command="")
    known, record = read_plan(folder), read_record(folder)
    assert known is not None and known.side_by_side == {1: 4, 2: 2}
    assert record is not None
    assert record.running(BY_ID) == overview.running
    assert len(overview.running) == 2
