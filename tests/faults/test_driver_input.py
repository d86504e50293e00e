"""What a run refuses before anything starts: a second run, and what cannot be sent."""

from __future__ import annotations

import subprocess
import sys
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
from trials_frame import Cell, rows, write_folder

from ddp_sweep.results import load_results

pytestmark = [pytest.mark.faults, pytest.mark.timeout(600)]

CALL = """

import ddp_sweep

if __name__ == "__main__":
    ddp_sweep.run_sweep(
        {
            "name": "mine",
            "sweep": {"world_size": [1], "global_batch_size": [32]},
            "seeds": 1,
            "training": {"epochs": 1, "learning_rate": 0.1},
            "resources": {"device": "cpu"},
            "probes": False,
        },
        workload=Mine,
        progress="none",
    )
"""
LOCK = """
import threading

LOCK = threading.Lock()


class Mine(Tiny):
    def build_model(self):
        with LOCK:
            return super().build_model()
"""
METRIC = """
from ddp_sweep import Metric

numbers = (number for number in range(9))


def mean(scores, targets):
    return float(scores.mean()) + 0 * next(numbers)


class Mine(Tiny):
    metrics = [Metric("mean", True, mean)]
"""


@pytest.mark.parametrize(
    ("code", "culprit", "cause"),
    [
        (LOCK, "Mine.build_model.LOCK", "cannot pickle '_thread.lock' object"),
        (METRIC, "Mine.metrics", "cannot pickle 'generator' object"),
    ],
    ids=["a lock in the workload", "a generator in a metric"],
)
def test_what_cannot_be_sent_from_a_script_is_named(
    tmp_path: Path, code: str, culprit: str, cause: str
) -> None:
    (tmp_path / "script.py").write_text(WORKLOAD + code + CALL)
    ran = subprocess.run(
        [sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 1
    last = ran.stderr.strip().splitlines()[-1]
    assert last.startswith(
        f"ddp_sweep.errors.WorkloadError: {culprit} cannot be sent to the workers: {cause}"
    )
    assert "/ray/" not in ran.stderr, "a traceback of Ray's"
    assert not (tmp_path / "results").exists()
    fault_line(f"cannot be sent: {culprit}", "nothing ran", None, None, 0)


@pytest.mark.ray
def test_from_a_file_nothing_needs_to_be_sent(tmp_path: Path) -> None:
    both = LOCK + METRIC.replace("class Mine(Tiny)", "class Measured(Mine)")
    (tmp_path / "tiny.py").write_text(WORKLOAD + both)
    text = SWEEP.format(world_sizes=[2], seeds=1).replace("tiny.py:Tiny", "tiny.py:Measured")
    (tmp_path / "sweep.yaml").write_text(text)

    ended = RunProcess(tmp_path).finish()

    assert ended.exit_code == 0, ended.err
    (row,) = load_results(tmp_path / "results" / "tiny").trials.to_dict("records")
    assert row["status"] == "succeeded"
    assert 0 < row["metric_mean"] < 1


@pytest.mark.ray
def test_a_second_run_is_refused_and_the_first_goes_on(tmp_path: Path) -> None:
    (tmp_path / "tiny.py").write_text(WORKLOAD)
    (tmp_path / "sweep.yaml").write_text(SWEEP.format(world_sizes=[1], seeds=8))
    folder = tmp_path / "results" / "tiny"
    first = RunProcess(tmp_path)
    wait_until(lambda: (folder / "_lock").exists() or not first.running, "the lock")
    (tmp_path / "elsewhere").mkdir()
    for name in ("tiny.py", "sweep.yaml"):
        (tmp_path / "elsewhere" / name).write_text((tmp_path / name).read_text())

    second = RunProcess(tmp_path / "elsewhere", "--output", folder).finish()

    assert second.exit_code == 2
    assert f"another run is writing to {folder} (process {first.pid} on " in second.err
    assert "Traceback" not in second.err
    ended = first.finish()
    assert ended.exit_code == 0, ended.err
    assert len(attempt_files(folder)) == 8
    assert not (folder / "_lock").exists()
    fault_line("two drivers at once", "refused", None, None, 0)


def test_the_folder_of_another_sweep_is_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "tiny.py").write_text(WORKLOAD)
    (tmp_path / "sweep.yaml").write_text(SWEEP.format(world_sizes=[1], seeds=2))
    records = rows([Cell(world_size=1, batch=64)], seeds=2)
    other = write_folder(tmp_path / "other", records)
    known = (tmp_path / "sweep.yaml").read_text().replace("name: tiny", "name: digits")
    other.spec_file.write_text(known)
    before = {file: file.read_bytes() for file in sorted(other.path.rglob("*.*"))}

    ended = RunProcess(tmp_path, "--output", other.path).finish()

    assert ended.exit_code == 2, ended.err
    assert "was made by another" in ended.err
    assert {file: file.read_bytes() for file in sorted(other.path.rglob("*.*"))} == before
