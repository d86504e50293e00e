"""A disk that is full, and a folder that can only be read: said clearly, and nothing is lost."""

from __future__ import annotations

import errno
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest
from driver_processes import (
    SWEEP,
    WORKLOAD,
    RunProcess,
    attempt_files,
    fault_line,
    no_run_goes_on,  # noqa: F401 - for every test
    wait_until,
)
from plan_samples import FACTS, trials
from small_disk import fill, read_only, resize, small_disk

from ddp_sweep.cluster.driver.attempts import Attempts
from ddp_sweep.errors import ResultsError, WriteError
from ddp_sweep.reporter import AttemptResult, Reporter
from ddp_sweep.results import ResultsFolder, load_results
from ddp_sweep.results.lock import locked
from ddp_sweep.schema import Status

pytestmark = [pytest.mark.faults, pytest.mark.timeout(600)]

TRIALS = 12


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    (tmp_path / "tiny.py").write_text(WORKLOAD)
    (tmp_path / "sweep.yaml").write_text(SWEEP.format(world_sizes=[1], seeds=TRIALS))
    return tmp_path


def succeeded(folder: Path) -> dict[str, datetime]:
    rows = load_results(folder).trials
    rows = rows[rows["status"] == "succeeded"]
    return dict(zip(rows["trial_id"], rows["started_at"], strict=True))


def goes_on(sweep: Path, folder: Path, before: dict[str, datetime]) -> None:
    """The same command finishes the sweep, and runs nothing again that was there."""
    ended = RunProcess(sweep, "--output", folder).finish()
    assert ended.exit_code == 0, ended.err
    assert len(succeeded(folder)) == TRIALS
    assert succeeded(folder).items() >= before.items()
    rows = load_results(folder).trials
    assert not rows.duplicated(["trial_id", "attempt"]).any()
    for _, attempts in rows.sort_values("attempt").groupby("trial_id"):
        assert list(attempts["attempt"]) == list(range(1, len(attempts) + 1))


@pytest.mark.ray
def test_a_disk_that_becomes_full_in_a_sweep(sweep: Path) -> None:
    with small_disk(sweep / "disk", "500k") as disk:
        folder = disk / "tiny"
        ended = RunProcess(sweep, "--output", folder).finish()

        assert ended.exit_code == 1, ended.err
        assert "No space left on device" in ended.err
        assert "it goes on where this run stopped" in ended.err
        assert "Traceback" not in ended.err
        before = succeeded(folder)
        assert 0 < len(before) < TRIALS
        assert not list(folder.rglob("*.part"))
        resize(disk, "20m")
        goes_on(sweep, folder, before)
        lost = len(before.keys() - succeeded(folder).keys())
        fault_line("disk full at commit", "interrupted", None, None, lost)


@pytest.mark.ray
def test_a_table_that_can_only_be_read_all_of_a_sudden(sweep: Path) -> None:
    with small_disk(sweep / "disk", "20m") as disk:
        folder = disk / "tiny"
        run = RunProcess(sweep, "--output", folder)
        wait_until(lambda: len(attempt_files(folder)) >= 2 or not run.running, "two rows")
        with read_only(folder / "trials"):
            ended = run.finish()
            assert ended.exit_code == 1, ended.err
            assert "Read-only file system" in ended.err
            assert "Traceback" not in ended.err
            before = succeeded(folder)
            assert 2 <= len(before) < TRIALS
            again = RunProcess(sweep, "--output", folder).finish()
            assert again.exit_code == 1, again.err
            assert "Read-only file system" in again.err
        goes_on(sweep, folder, before)
        lost = len(before.keys() - succeeded(folder).keys())
        fault_line("read-only at commit", "interrupted", None, None, lost)


def test_a_folder_that_can_only_be_read_from_the_start(sweep: Path) -> None:
    with small_disk(sweep / "disk", "1m") as disk, read_only(disk):
        ended = RunProcess(sweep, "--output", disk / "tiny").finish()
        assert ended.exit_code == 2, ended.err
        assert "choose another folder with --output" in ended.err
        assert "Traceback" not in ended.err
        assert list(disk.iterdir()) == []
    fault_line("read-only from the start", "nothing ran", None, None, 0)


def test_a_disk_that_is_full_from_the_start(sweep: Path) -> None:
    with small_disk(sweep / "disk", "1m") as disk:
        filler = fill(disk)
        ended = RunProcess(sweep, "--output", disk / "tiny").finish()
        assert ended.exit_code == 1, ended.err
        assert "No space left on device" in ended.err
        assert "Traceback" not in ended.err
        filler.unlink()
        assert not list(disk.rglob("*.part"))
    fault_line("disk full from the start", "nothing ran", None, None, 0)


def test_every_file_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    """At every size that the disk may have left: of many, each write fails somewhere else."""
    outcomes = set()
    with small_disk(tmp_path / "disk", "300k") as disk:
        for left in range(0, 160_000, 8192):
            folder = ResultsFolder(disk / f"left-{left}")
            reporter = Reporter(folder, FACTS)
            for table in ("trials", "evals", "steps"):
                folder.table(table).mkdir(parents=True)
            filler = fill(disk)
            with filler.open("r+b") as file:
                file.truncate(max(0, filler.stat().st_size - left))
            outcomes.add(_one_attempt(folder, reporter))
            filler.unlink()
            assert not list(folder.path.rglob("*.part"))
            written = load_results(folder.path)
            assert written.problems == ()
            # The row comes last: where it is, all is there.
            if len(written.trials):
                assert list(folder.steps.iterdir()) and list(folder.evals.iterdir())
            for file in folder.path.rglob("*.parquet"):
                file.unlink()
    assert outcomes == {"not begun", "not written", "written"}


def _one_attempt(folder: ResultsFolder, reporter: Reporter) -> str:
    attempts, trial = Attempts(folder, reporter), trials()[0]
    with suppress(ResultsError), locked(folder):
        try:
            attempts.begin(trial, 1)
        except WriteError as error:
            assert _number(error) == errno.ENOSPC
            return "not begun"
        ended = AttemptResult(
            trial=trial, attempt=1, status=Status.SUCCEEDED, finished_at=datetime.now(UTC)
        )
        try:
            reporter.commit(ended)
        except WriteError as error:
            assert _number(error) == errno.ENOSPC
            return "not written"
        return "written"
    return "not begun"


def _number(error: WriteError) -> int | None:
    cause = error.__cause__
    assert isinstance(cause, OSError)
    return cause.errno
