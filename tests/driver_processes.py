"""Runs of the command line as processes that a test kills, and what they leave behind."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

__all__ = [
    "SWEEP",
    "WORKLOAD",
    "Ended",
    "RunProcess",
    "attempt_files",
    "ddp_sweep",
    "end_agents_of_ray",
    "fault_line",
    "no_run_goes_on",
    "reading_all_the_while",
    "wait_until",
]

_PROGRAM = [sys.executable, "-c", "from ddp_sweep.cli import main; main()"]
PATIENCE_S = 240.0

WORKLOAD = """
import torch
from torch.utils.data import TensorDataset

from ddp_sweep import Binary


class Tiny:
    task = Binary()

    def __init__(self, note=""):
        self.note = note

    def build_model(self):
        return torch.nn.Sequential(torch.nn.Linear(2, 1), torch.nn.Flatten(0))

    def build_data(self):
        inputs = torch.randn(256, 2, generator=torch.Generator().manual_seed(0))
        data = TensorDataset(inputs, (inputs.sum(dim=1) > 0).long())
        return data, data

    def loss(self, outputs, targets):
        return torch.nn.functional.binary_cross_entropy_with_logits(
            outputs, targets.float(), reduction="none"
        )
"""

SWEEP = """
name: tiny
workload: tiny.py:Tiny
sweep: {{world_size: {world_sizes}, global_batch_size: [32]}}
seeds: {seeds}
training: {{epochs: 4, learning_rate: 0.05, reference_batch_size: 32, evaluations: 2}}
resources: {{device: cpu}}
probes: false
"""


@dataclass(frozen=True)
class Ended:
    """A call of the command line that has ended."""

    exit_code: int
    out: str
    err: str


def ddp_sweep(folder: Path, *arguments: str | Path) -> Ended:
    """Call the command line in a folder and wait for its end."""
    done = subprocess.run(
        [*_PROGRAM, *map(str, arguments)],
        cwd=folder,
        env=os.environ | {"COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    return Ended(done.returncode, done.stdout, done.stderr)


_started: list[RunProcess] = []


@pytest.fixture(autouse=True)
def no_run_goes_on() -> Iterator[None]:
    """Ends what a test that failed has left; imported, it holds for every test of a module."""
    yield
    while _started:
        run = _started.pop()
        if run.running:
            for process in [*run.kill()]:
                with suppress(psutil.NoSuchProcess):
                    process.kill()


class RunProcess:
    """``ddp-sweep run`` in a process and a session of its own, as under a shell.

    Args:
        folder: Where it is called, with ``sweep.yaml``; its output goes to files there.
        arguments: After ``run sweep.yaml``.
    """

    def __init__(self, folder: Path, *arguments: str | Path) -> None:
        self._out, self._err = folder / "stdout.txt", folder / "stderr.txt"
        words = ["run", "sweep.yaml", "--progress", "plain", *map(str, arguments)]
        with self._out.open("w") as out, self._err.open("w") as err:
            self.process = subprocess.Popen(
                [*_PROGRAM, *words],
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )
        _started.append(self)

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def running(self) -> bool:
        return self.process.poll() is None

    @property
    def said(self) -> str:
        """What it has printed so far to stderr."""
        return self._err.read_text()

    def finish(self) -> Ended:
        """Wait for its own end."""
        self.process.wait(PATIENCE_S)
        return Ended(self.process.returncode, self._out.read_text(), self.said)

    def kill(self) -> list[psutil.Process]:
        """SIGKILL it, and nothing else; what it had started, as it was right before."""
        started: list[psutil.Process] = []
        with suppress(psutil.NoSuchProcess):
            started = psutil.Process(self.pid).children(recursive=True)
        self.process.kill()
        self.process.wait(10)
        assert not psutil.pid_exists(self.pid)
        return started


def wait_until(condition: Callable[[], object], what: str, patience_s: float = PATIENCE_S) -> None:
    """Wait for something to become true, and fail with its name where it does not."""
    deadline_s = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < deadline_s, f"waited {patience_s:.0f} s for {what}"
        time.sleep(0.02)


def attempt_files(folder: Path) -> set[str]:
    """Names of the files in ``trials``: one for each attempt that has its row."""
    with suppress(FileNotFoundError):
        return {file.name for file in (folder / "trials").iterdir() if file.suffix == ".parquet"}
    return set()


AGENTS = ("dashboard", "log_monitor", "runtime_env", "runtimeenv", "monitor.py", "autoscaling")
"""What Ray itself leaves for a minute when the process that started it is killed."""


def end_agents_of_ray(started: Sequence[psutil.Process]) -> tuple[int, list[str]]:
    """Wait until what a killed run had started is gone; Ray's own agents are ended.

    Returns:
        How many ended by themselves, and the names of those that were ended here.
    """
    gone, alive = psutil.wait_procs(started, timeout=30)
    ended = []
    for process in alive:
        with suppress(psutil.NoSuchProcess):
            command = " ".join(process.cmdline()).lower()
            assert any(name in command for name in AGENTS), f"still there: {process.pid} {command}"
            ended.append(next(name for name in AGENTS if name in command))
            process.kill()
    assert not psutil.wait_procs(alive, timeout=10)[1]
    return len(gone), ended


_READER = """
import sys, time, warnings
from pathlib import Path

import pandas as pd

from ddp_sweep.results import load_results

folder, stop = Path(sys.argv[1]), Path(sys.argv[2])
warnings.simplefilter("error")
rounds, files, known = 0, 0, {}
while not stop.exists():
    for table in ("trials", "evals", "steps"):
        seen = sorted((folder / table).glob("[!._]*")) if folder.is_dir() else []
        for file in seen:
            pd.read_parquet(file)
        if seen:
            pd.read_parquet(folder / table)
        files += len(seen)
    if folder.is_dir():
        rows = load_results(folder).trials
        now = dict(zip(zip(rows["trial_id"], rows["attempt"]), rows["status"]))
        assert len(now) == len(rows), "two rows of one attempt"
        lost = {key: status for key, status in known.items() if now.get(key) != status}
        assert not lost, f"rows were lost or changed: {lost}"
        known = now
    rounds += 1
    time.sleep(0.05)
print(f"read {files} files in {rounds} rounds; {len(known)} rows at the end, none lost")
"""


@contextmanager
def reading_all_the_while(folder: Path, scratch: Path) -> Iterator[None]:
    """A second process reads a folder, file by file and as a whole, until the block ends.

    It fails at a file that cannot be read, at a row that is lost or changes, and at an attempt
    with two rows.
    """
    stop = scratch / "stop-reading"
    reader = subprocess.Popen(
        [sys.executable, "-c", _READER, str(folder), str(stop)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield
        stop.touch()
        out, err = reader.communicate(timeout=60)
        assert reader.returncode == 0, err
        print(out.strip())
    finally:
        reader.kill()
        reader.communicate()


def fault_line(
    fault: str, status: str, seen_s: float | None, next_s: float | None, rows_lost: int
) -> None:
    """The line of one fault in the table of all of them."""
    seen = "-" if seen_s is None else f"{seen_s:.1f} s"
    after = "-" if next_s is None else f"{next_s:.1f} s"
    print(
        f"fault: {fault} status: {status} seen after: {seen} next trial after: {after} "
        f"rows lost: {rows_lost}"
    )
