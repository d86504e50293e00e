"""The script for Slurm, run for real on this machine: srun starts its commands right here.

Only Slurm itself is stood in for, by two programs of a few lines; Ray's nodes, their joining, the
sweep, the signal before the time limit and the next run are real.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from gated_sweep import write_gated_sweep

from ddp_sweep.results import load_results

pytestmark = [pytest.mark.long, pytest.mark.timeout(1200)]

SRUN = """#!/bin/bash
tasks=1
while [[ $1 == --* ]]; do
    case $1 in --ntasks=*) tasks=${1#*=} ;; esac
    shift
done
trap 'kill $(jobs -p)' TERM
for ((task = 0; task < tasks; task++)); do "$@" & done
wait
wait
"""
SCONTROL = """#!/bin/bash
if [[ $1 == show ]]; then
    printf '%s\\n' alpha beta
else
    echo "$*" >> "$SCONTROL_LOG"
fi
"""
ENDING_S = 60.0


@pytest.fixture
def here(tmp_path: Path) -> Path:
    for name, text in {"srun": SRUN, "scontrol": SCONTROL}.items():
        program = tmp_path / "bin" / name
        program.parent.mkdir(exist_ok=True)
        program.write_text(text)
        program.chmod(0o755)
    return tmp_path


@contextmanager
def running(here: Path, script: Path) -> Iterator[subprocess.Popen[str]]:
    """The script as sbatch starts it; with everything it started it must have ended by itself."""
    process = subprocess.Popen(
        ["bash", script],
        cwd=here,
        env=os.environ
        | {
            "PATH": f"{here / 'bin'}:{Path(sys.executable).parent}:{os.environ['PATH']}",
            "SLURM_JOB_ID": str(os.getpid()),
            "SLURM_JOB_NODELIST": "alpha,beta",
            "SCONTROL_LOG": str(here / "scontrol.log"),
            "HOME": str(here),
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        # As under Slurm, whatever started these tests was told to pass over.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        yield process
        before = psutil.Process().children(recursive=True)
        gone = psutil.wait_procs([one for one in before if "ray" in one.name()], ENDING_S)[1]
        assert gone == []
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait(ENDING_S)
        assert not Path(f"/tmp/ray-{os.getpid()}").exists()


def read_until(process: subprocess.Popen[str], pattern: str) -> str:
    assert process.stdout is not None
    said = ""
    for line in process.stdout:
        said += line
        if re.search(pattern, line):
            return said
    raise AssertionError(f"ended without saying {pattern}: {said}")


def wait_for_a_trial_under_way(results: Path) -> None:
    """Wait until one has been handed out: what had not begun when the signal came is not run."""
    give_up_at = time.monotonic() + ENDING_S
    while not list((results / "_attempts").glob("*.json")):
        assert time.monotonic() < give_up_at
        time.sleep(0.1)
    time.sleep(1.0)


def test_it_drains_before_the_time_limit_and_goes_on_when_it_is_queued_again(here: Path) -> None:
    gate = write_gated_sweep(here, world_sizes="[2]", batch_sizes="[32, 16, 64]")
    gate.touch()
    printed = subprocess.run(
        [
            *(sys.executable, "-m", "ddp_sweep.cli", "submit", "sweep.yaml"),
            *("--manifest", "slurm"),
        ],
        cwd=here,
        capture_output=True,
        text=True,
        check=True,
    )
    script = here / "sweep.sbatch"
    script.write_text(printed.stdout)

    with running(here, script) as first:
        read_until(first, r"^\[1 of 3\] .*succeeded")
        wait_for_a_trial_under_way(here / "results" / "tumours")
        first.send_signal(signal.SIGUSR1)
        gate.unlink()
        said, _ = first.communicate()
        assert first.returncode == 130, said
    trials = load_results(here / "results" / "tumours").trials
    assert trials["status"].tolist() == ["succeeded"] * 2
    assert (here / "scontrol.log").read_text() == f"requeue {os.getpid()}\n"

    with running(here, script) as second:
        said, _ = second.communicate()
        assert second.returncode == 0, said
    assert "[3 of 3]" in said
    assert "workers x batch" in said  # the ranking
    trials = load_results(here / "results" / "tumours").trials
    assert trials["status"].tolist() == ["succeeded"] * 3
    assert trials["trial_id"].is_unique
    assert trials["num_nodes"].eq(2).all()
    assert (here / "scontrol.log").read_text().count("\n") == 1
