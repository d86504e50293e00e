"""What ``status`` says of a folder: while a run goes on, after a crash, and at the end."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from live_events import Clock, began, ended, followed, grid, heard, plan_event, training
from rich.console import Console
from trials_frame import Cell, rows, write_folder

from ddp_sweep.live import Event, SweepEnded
from ddp_sweep.live.record import write_plan, write_record
from ddp_sweep.report.run_status import print_status, run_status
from ddp_sweep.results import ResultsFolder, load_results
from ddp_sweep.results.lock import locked

TRIALS = grid((1, 2), (64,), seeds=4)
COMMAND = "ddp-sweep run digits.yaml --output results/digits"
NOW = Clock(1010.0)


@pytest.fixture
def folder(tmp_path: Path) -> ResultsFolder:
    """Two of four seeds have ended, each trial after 12 s; a third seed runs since 1000."""
    cells = [Cell(world_size=size, batch=64) for size in (1, 2)]
    records = rows(cells, seeds=2)
    for record in records:
        record["wall_time_s"] = 12.0
        record["started_at"] = None
    written = write_folder(tmp_path / "digits", records)
    leave(written)
    return written


def leave(folder: ResultsFolder, *more: Event) -> None:
    plan = plan_event(TRIALS)
    events: list[Event] = [plan]
    for one in TRIALS[:4]:
        events += [began(one), ended(one)]
    events += [began(TRIALS[4]), heard(TRIALS[4], training(samples=500)), *more]
    write_plan(folder, plan)
    write_record(folder, followed(events, Clock(1000.0)), now_s=1000.0, resume_command=COMMAND)


def printed(folder: ResultsFolder, width: int = 80) -> str:
    console = Console(file=io.StringIO(), width=width)
    print_status(run_status(load_results(folder.path), NOW), console)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert max(map(len, text.splitlines())) <= width
    return " ".join(text.split())


def test_while_a_run_goes_on_it_says_what_the_run_itself_shows(folder: ResultsFolder) -> None:
    with locked(folder):
        status = run_status(load_results(folder.path), NOW)
        text = printed(folder)

    assert (status.ended, status.planned, status.left) == (4, 8, 4)
    assert [one.trial for one in status.overview.running] == [TRIALS[4]]
    # Half of the running one and three more.
    assert status.predicted_left_s == 6 + 3 * 12
    for words in (
        *("digits: 4 of 8 trials", "about 42 s left", "■■▶·", "■■··", "loss 0.25"),
        *("1 worker x 64, seed 2: training, epoch 2.0 of 4", "4,120 samples/s"),
        "A run is writing to this folder, last heard of 10 s ago.",
    ):
        assert words in text
    assert "To go on" not in text


def test_after_a_crash_nothing_runs_and_how_to_go_on(folder: ResultsFolder) -> None:
    status = run_status(load_results(folder.path), NOW)
    text = printed(folder)

    assert not status.runs
    assert status.overview.running == ()
    assert status.predicted_left_s == 4 * 12
    assert "▶" not in text
    assert "the last run broke off about 10 s ago, without having been stopped" in text
    assert f"To go on: {COMMAND}" in text
    assert "4 left to run; predicted to take 48 s." in text


def test_an_attempt_that_its_run_did_not_end_is_counted(folder: ResultsFolder) -> None:
    folder.attempts.mkdir()
    ended_already = folder.attempt_record("w1b64s0", 1)
    ended_already.write_text("{}")
    folder.attempt_record("w1b64s2", 1).write_text("{}")
    with locked(folder):
        assert run_status(load_results(folder.path), NOW).broken_off == 0
    status = run_status(load_results(folder.path), NOW)
    assert status.to_json()["broken_off"] == status.broken_off == 1
    assert "1 attempt broke off with its run; the next run writes it down" in printed(folder)


def test_after_an_interruption_it_says_how_to_go_on(folder: ResultsFolder) -> None:
    leave(folder, SweepEnded(interrupted=True))
    text = printed(folder)
    assert "Nothing runs now. To go on: ddp-sweep run digits.yaml" in text
    assert "broke off" not in text


def test_a_run_on_another_machine_may_go_on(folder: ResultsFolder) -> None:
    record = json.loads(folder.progress_file.read_text())
    folder.progress_file.write_text(json.dumps(record | {"host": "node-7"}))
    text = printed(folder)
    assert "A run on node-7 said 10 s ago that it goes on" in text
    assert "To go on:" not in text


def test_a_folder_without_a_record_is_counted_all_the_same(folder: ResultsFolder) -> None:
    for file in (folder.progress_file, folder.plan_file):
        file.unlink()
    status = run_status(load_results(folder.path), NOW)
    assert (status.planned, status.left, status.ended) == (None, None, 4)
    assert "How many are left is not known" in printed(folder)


def test_a_finished_sweep_has_nothing_left(tmp_path: Path) -> None:
    cells = [Cell(world_size=size, batch=64) for size in (1, 2)]
    folder = write_folder(tmp_path / "digits", rows(cells, seeds=4))
    leave(folder, SweepEnded(interrupted=False))
    status = run_status(load_results(folder.path), NOW)
    text = printed(folder)

    assert (status.left, status.predicted_left_s) == (0, 0.0)
    assert text.endswith("8 succeeded Nothing is left to run.")
    assert "left," not in text and "about" not in text


@pytest.mark.parametrize("held", [True, False])
def test_as_json(folder: ResultsFolder, held: bool) -> None:
    if held:
        with locked(folder):
            known = run_status(load_results(folder.path), NOW).to_json()
    else:
        known = run_status(load_results(folder.path), NOW).to_json()
    text = json.dumps(known, allow_nan=False)

    assert json.loads(text) == known
    assert known["by_status"] == {"succeeded": 4}
    assert known["runs"] is held
    assert known["cells"] == [
        {
            "world_size": size,
            "per_worker_batch_size": 64,
            "trials": 4,
            "ended": 2,
            "succeeded": 2,
        }
        for size in (1, 2)
    ]
    if held:
        [running] = known["running"]
        assert running["trial_id"] == "w1b64s2"
        assert running["progress"]["samples"] == 500
    else:
        assert known["running"] == []
    assert known["front_runner"]["trials"] == 4


@pytest.mark.parametrize("width", [60, 80, 140])
def test_it_fits_every_terminal(folder: ResultsFolder, width: int) -> None:
    with locked(folder):
        assert "4 left to run" in printed(folder, width)
