"""A trial loses a rank, then its driver, and ends as if nothing had happened."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import long_trial
import numpy as np
import pandas as pd
import psutil
import pytest
from long_trial import STEPS, sweep

from ddp_sweep import run_sweep
from ddp_sweep.results import Results, load_results

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(600)]

PATIENCE_S = 240.0
MARK = "STARTED_BY_TEST_OF_CHECKPOINTS"


@pytest.fixture(autouse=True)
def _nothing_is_left() -> Iterator[None]:
    """Ray's own agents go a minute after a driver that was killed."""
    yield
    deadline = time.monotonic() + 100
    while (left := marked()) and time.monotonic() < deadline:
        time.sleep(0.5)
    for process in left:
        process.kill()
    assert not left


def marked() -> list[psutil.Process]:
    """Processes that a driver of this test has started, and drivers."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.environ().get(MARK) == str(os.getpid()):
                found.append(process)
    return found


class Driver:
    """A run of the sweep in a process of its own.

    Args:
        folder: Results folder.
        notes: Where the ranks note their steps.
    """

    def __init__(self, folder: Path, notes: Path) -> None:
        self.folder, self.notes = folder, notes
        # To a file: what outlives a driver that is killed would keep a pipe open.
        self._err = notes.with_name("stderr")
        with self._err.open("w") as err:
            self.process = subprocess.Popen(
                [sys.executable, long_trial.__file__, str(folder), str(notes)],
                stderr=err,
                env=os.environ | {MARK: str(os.getpid())},
                start_new_session=True,
            )

    def wait_for(self, happened: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not happened():
            assert self.process.poll() is None, self.finish()
            assert time.monotonic() < deadline, f"waited in vain for {what}"
            time.sleep(0.02)

    def kept_steps(self) -> set[int]:
        """Steps of the checkpoints that are on the disk."""
        return {
            int(place.name.partition("-")[2])
            for place in self.folder.glob("_checkpoints/*/*")
            if not place.name.startswith(".")
        }

    def finish(self) -> tuple[int, str]:
        return self.process.wait(timeout=PATIENCE_S), self._err.read_text()


def steps_of(notes: Path) -> dict[int, list[int]]:
    """The steps that each process of a rank made, by its id."""
    made = {int(file.name): list(map(int, file.read_text().split())) for file in notes.iterdir()}
    return {pid: steps for pid, steps in made.items() if steps}


def attempts_of(notes: Path) -> list[tuple[int, int]]:
    """First and last step that each attempt made, in their order."""
    found: dict[int, int] = {}
    for steps in steps_of(notes).values():
        assert steps == list(range(steps[0], steps[-1] + 1))
        found[steps[0]] = max(steps[-1], found.get(steps[0], 0))
    return sorted(found.items())


def training_now(notes: Path, since: set[int]) -> list[int]:
    """Ranks that train and were not among those before."""
    return [pid for pid in steps_of(notes) if pid not in since and psutil.pid_exists(pid)]


def gone(pid: int) -> bool:
    """Whether none of its threads runs any more; the first may have ended before the others."""
    try:
        process = psutil.Process(pid)
        return process.status() == psutil.STATUS_ZOMBIE and process.num_threads() <= 1
    except psutil.NoSuchProcess:
        return True


def test_a_trial_that_loses_a_rank_and_then_its_driver_repeats_only_what_was_lost(
    tmp_path: Path,
) -> None:
    folder, notes = tmp_path / "results", tmp_path / "notes"
    notes.mkdir()

    first = Driver(folder, notes)
    first.wait_for(lambda: max(first.kept_steps(), default=0) > 20, "a checkpoint")
    kept = [max(first.kept_steps())]
    victim = training_now(notes, set())[1]
    os.kill(victim, signal.SIGKILL)
    killed_s = time.monotonic()
    first.wait_for(lambda: gone(victim), "the end of the rank")
    first.wait_for(lambda: bool(list(folder.glob("trials/*-1.parquet"))), "the lost attempt")
    seen_s = time.monotonic() - killed_s
    before = set(steps_of(notes))
    first.wait_for(lambda: bool(training_now(notes, before)), "the second attempt")
    a_rank = (seen_s, time.monotonic() - killed_s)

    first.wait_for(lambda: min(first.kept_steps(), default=0) > kept[0] + 9, "newer checkpoints")
    kept.append(max(first.kept_steps()))
    os.kill(first.process.pid, signal.SIGKILL)
    killed_s = time.monotonic()
    assert first.finish()[0] == -signal.SIGKILL
    while not all(map(gone, steps_of(notes))):
        assert time.monotonic() < killed_s + 120
        time.sleep(0.1)
    seen_s = time.monotonic() - killed_s

    before = set(steps_of(notes))
    second = Driver(folder, notes)
    second.wait_for(lambda: bool(training_now(notes, before)), "the resumed run")
    the_driver = (seen_s, time.monotonic() - killed_s)
    exit_code, err = second.finish()
    assert exit_code == 0, err
    assert not list(folder.glob("_checkpoints*"))

    attempts = attempts_of(notes)
    assert attempts[0][0] == 1
    assert len(attempts) == 3
    for before_it, (begun, _), step in zip(attempts, attempts[1:], kept, strict=False):
        assert step < begun <= before_it[1] + 1, "went on from another place than a checkpoint"
    assert attempts[2][1] == STEPS

    results = load_results(folder)
    trials = results.trials.sort_values("attempt")
    final = trials.iloc[-1]
    assert final["status"] == "succeeded"
    assert final["status_detail"].startswith(f"went on from step {attempts[2][0] - 1} of attempt")
    lost = [attempts[at][1] + 1 - attempts[at + 1][0] for at in range(2)]
    statuses = [*trials["status"].iloc[:-1], "(no row: its driver died)"]
    for fault, status, (seen_s, next_s), steps in zip(
        ("SIGKILL of a rank", "SIGKILL of the driver"),
        statuses,
        (a_rank, the_driver),
        lost,
        strict=False,
    ):
        print(
            f"fault: {fault} status: {status} seen after: {seen_s:.1f} s "
            f"next trial after: {next_s:.1f} s rows lost: 0 steps lost: {steps}"
        )
    assert_as_if_nothing_had_happened(results, tmp_path)


def assert_as_if_nothing_had_happened(results: Results, tmp_path: Path) -> None:
    notes = tmp_path / "other notes"
    notes.mkdir()
    assert run_sweep(sweep(notes, None), output=tmp_path / "whole", progress="none").exit_code == 0
    whole = load_results(tmp_path / "whole")
    steps, reference = of_final(results, "steps"), of_final(whole, "steps")
    for column in ("rank", "optimizer_step", "samples", "train_loss", "learning_rate"):
        np.testing.assert_array_equal(steps[column], reference[column], column)
    evals, reference = of_final(results, "evals"), of_final(whole, "evals")
    for column in ("optimizer_step", "val_loss", "accuracy", "auroc", "best_epoch"):
        np.testing.assert_array_equal(evals[column], reference[column], column)
    assert list(evals["correct_bits"]) == list(reference["correct_bits"])
    row, other = of_final(results, "trials").iloc[0], of_final(whole, "trials").iloc[0]
    for column in ("optimizer_steps", "samples", "duplicate_samples", "batch_imbalance"):
        assert row[column] == other[column], column
    assert str(row["confusion_matrix"]) == str(other["confusion_matrix"])
    assert row["train_time_s"] == evals["train_time_s"].iloc[-1]
    assert steps["step_time_s"].sum() <= 2 * row["train_time_s"]


def of_final(results: Results, table: str) -> pd.DataFrame:
    """Rows of the last attempt."""
    frame: pd.DataFrame = getattr(results, table)
    last = results.trials["attempt"].max()
    return frame[frame["attempt"] == last].reset_index(drop=True)
