"""Who may write to a results folder: real processes that live, die and come again."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path

import psutil
import pytest

from ddp_sweep.errors import FolderInUseError, ResultsError
from ddp_sweep.results import ResultsFolder, lock
from ddp_sweep.results.lock import Holder, is_locked, locked

HOLD = """
import sys, time
from pathlib import Path
from ddp_sweep.results import ResultsFolder
from ddp_sweep.results.lock import locked
with locked(ResultsFolder(Path(sys.argv[1]))):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def folder(tmp_path: Path) -> ResultsFolder:
    return ResultsFolder(tmp_path / "results")


@contextmanager
def held(folder: ResultsFolder) -> Iterator[subprocess.Popen[str]]:
    """Another process that has the lock until its input ends."""
    command = [sys.executable, "-c", HOLD, str(folder.path)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    process = subprocess.Popen(command, **pipes)  # type: ignore[call-overload]
    try:
        assert process.stdout.readline() == "held\n"
        yield process
    finally:
        process.kill()
        process.communicate()


def left_by(folder: ResultsFolder, **other: object) -> Holder:
    """A lock file as a process of some host left it; nobody holds it."""
    holder = replace(Holder.myself(), **other)  # type: ignore[arg-type]
    folder.path.mkdir(exist_ok=True)
    folder.lock_file.write_text(json.dumps(asdict(holder)))
    return holder


def without_kernel_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a file system that has none."""

    def refuse(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(lock.fcntl, "flock", refuse)


@pytest.mark.parametrize("kernel_locks", [True, False])
def test_a_second_run_is_refused_and_told_who_has_the_folder(
    folder: ResultsFolder, monkeypatch: pytest.MonkeyPatch, kernel_locks: bool
) -> None:
    with held(folder) as other:
        if not kernel_locks:
            without_kernel_locks(monkeypatch)
        assert is_locked(folder)
        with pytest.raises(FolderInUseError, match=rf"process {other.pid} on .*since 20"):
            locked(folder).__enter__()
        before = folder.lock_file.read_text()
        assert json.loads(before)["process"] == other.pid
        other.communicate()
        assert other.returncode == 0
    assert not is_locked(folder)
    assert list(folder.path.iterdir()) == []


@pytest.mark.parametrize("kernel_locks", [True, False])
def test_the_lock_of_a_killed_run_is_taken_over(
    folder: ResultsFolder, monkeypatch: pytest.MonkeyPatch, kernel_locks: bool
) -> None:
    with held(folder) as other:
        other.send_signal(signal.SIGKILL)
        assert other.wait(10) == -signal.SIGKILL
        assert not psutil.pid_exists(other.pid)
    assert json.loads(folder.lock_file.read_text())["process"] == other.pid
    if not kernel_locks:
        without_kernel_locks(monkeypatch)
    assert not is_locked(folder)
    with locked(folder):
        assert json.loads(folder.lock_file.read_text())["process"] == os.getpid()
    assert not folder.lock_file.exists()


def test_a_process_is_not_taken_for_a_later_one_of_the_same_number(
    folder: ResultsFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the kernel's locks only the start time tells them apart."""
    without_kernel_locks(monkeypatch)
    alive = left_by(folder, process=os.getppid(), process_started_s=_started(os.getppid()))
    assert alive.is_gone is False
    with pytest.raises(FolderInUseError):
        locked(folder).__enter__()

    dead = left_by(folder, process=os.getppid(), process_started_s=_started(os.getppid()) - 60)
    assert dead.is_gone is True
    with locked(folder):
        pass


def test_a_lock_of_another_host_is_left_alone_until_somebody_removes_it(
    folder: ResultsFolder,
) -> None:
    holder = left_by(folder, host="elsewhere", boot_id="another kernel", process=1234)
    with pytest.raises(FolderInUseError) as refused:
        locked(folder).__enter__()
    for words in ("process 1234 on elsewhere", holder.since, f"remove {folder.lock_file}"):
        assert words in str(refused.value)
    folder.lock_file.unlink()
    with locked(folder):
        pass


def test_a_container_that_went_and_one_before_a_restart_hold_nothing(
    folder: ResultsFolder,
) -> None:
    left_by(folder, host="container-1")  # the same kernel, which would know of its lock
    with locked(folder):
        pass
    left_by(folder, boot_id="before the restart")
    with locked(folder):
        pass


@pytest.mark.parametrize("text", ["", "process 12 on a host", "[]", '{"host": 1}'])
def test_a_file_that_nobody_holds_and_that_says_nothing_is_no_lock(
    folder: ResultsFolder, text: str
) -> None:
    folder.path.mkdir()
    folder.lock_file.write_text(text)
    assert not is_locked(folder)
    with locked(folder):
        assert is_locked(folder)


def test_of_many_that_find_a_dead_lock_one_gets_it(folder: ResultsFolder) -> None:
    left_by(folder, process=2**22 + 1, process_started_s=0.0)
    command = [sys.executable, "-c", HOLD, str(folder.path)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    runs = [subprocess.Popen(command, text=True, **pipes) for _ in range(6)]  # type: ignore[call-overload]
    try:
        refused = [run for run in runs if run.stdout.readline() == ""]
        assert len(refused) == 5
        for run in refused:
            assert "FolderInUseError" in run.communicate()[1]
    finally:
        for run in runs:
            run.kill()
            run.communicate()


def test_a_look_of_status_at_the_lock_does_not_keep_a_run_out(folder: ResultsFolder) -> None:
    left_by(folder, process=2**22 + 1, process_started_s=0.0)
    with folder.lock_file.open() as reader:
        fcntl.flock(reader, fcntl.LOCK_SH)
        let_go = threading.Timer(0.1, fcntl.flock, (reader, fcntl.LOCK_UN))
        let_go.start()
        with locked(folder):
            assert is_locked(folder)
        let_go.join()


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ResultsError, match="file") as refused:
        locked(ResultsFolder(tmp_path / "file" / "x")).__enter__()
    assert refused.value.exit_code == 2


def _started(process: int) -> float:
    started: float = psutil.Process(process).create_time()
    return started
