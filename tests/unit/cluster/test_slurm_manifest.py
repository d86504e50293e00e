"""The script for Slurm: by shellcheck, and run by bash."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from command_line import Cli
from manifest_sweep import write_sweep
from stand_in_slurm import Slurm


@pytest.fixture
def slurm(tmp_path: Path) -> Slurm:
    folder = tmp_path / "slurm"
    folder.mkdir()
    return Slurm(folder)


@pytest.fixture
def script(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    # No environment to activate, whose programs would come first.
    monkeypatch.setattr(sys, "prefix", sys.base_prefix)
    printed = cli(
        *("submit", write_sweep(tmp_path), "--manifest", "slurm", "--workers-per-node", "2"),
        *("--hours", "1.5", "--interface", "ib0"),
    )
    assert printed.code == 0, printed.err
    file = tmp_path / "sweep.sbatch"
    file.write_text(printed.out, encoding="utf-8")
    return file


def test_bash_and_shellcheck_find_nothing_in_the_script(script: Path) -> None:
    for program in (["bash", "-n"], ["shellcheck"]):
        check = subprocess.run([*program, script], capture_output=True, text=True, check=False)
        assert check.returncode == 0, check.stdout + check.stderr


def test_the_script_asks_slurm_for_what_the_sweep_needs(script: Path) -> None:
    text = script.read_text(encoding="utf-8")
    asked = dict(re.findall(r"^#SBATCH --([\w-]+)(?:=(.*))?$", text, re.MULTILINE))

    # 4 workers of 2 GPUs and 3 CPUs, two to a node.
    assert asked["nodes"] == "2"
    assert asked["ntasks-per-node"] == "1"
    assert asked["gpus-per-node"] == "4"
    assert asked["cpus-per-task"] == "6"
    assert asked["time"] == "01:30:00"
    # Slurm signals the script ten minutes before the time is up, which comes before the end.
    assert asked["signal"] == "B:USR1@600"
    assert {"exclusive", "requeue"} <= set(asked)


def test_ray_has_the_whole_node_and_offers_the_cpus_of_the_workers(
    script: Path, slurm: Slurm
) -> None:
    with slurm.running(script) as process:
        slurm.wait_for("running", process)
    [started] = [line for line in slurm.read("srun.log").splitlines() if "ray start" in line]

    assert "--cpus-per-task=64 " in started
    assert "--num-cpus=6 " in started


@pytest.mark.parametrize("drains_in_time", [True, False])
def test_before_the_time_limit_a_trial_is_ended_or_cut_and_the_job_is_queued_again(
    script: Path, slurm: Slurm, drains_in_time: bool
) -> None:
    if drains_in_time:
        slurm.write("drains-in-time")
    with slurm.running(script) as process:
        slurm.wait_for("running", process)
        process.send_signal(signal.SIGUSR1)
        said, _ = process.communicate(timeout=60)

    # Bash starts what runs in the background deaf to it, unless told otherwise.
    assert slurm.read("sigint") == "heeded"
    assert process.returncode == 130, said
    assert slurm.read("scontrol.log") == "requeue 7\n"


def test_a_signal_that_comes_while_ray_starts_is_not_lost(script: Path, slurm: Slurm) -> None:
    slurm.write("ray-is-slow")
    with slurm.running(script) as process:
        slurm.wait_for("asked", process)
        process.send_signal(signal.SIGUSR1)
        (slurm.folder / "ray-is-slow").unlink()
        said, _ = process.communicate(timeout=60)

    assert process.returncode == 130, said
    assert slurm.read("scontrol.log") == "requeue 7\n"
    assert not slurm.read("sigint")


def test_a_job_that_is_not_near_its_limit_is_not_queued_again(script: Path, slurm: Slurm) -> None:
    slurm.write("drains-in-time")
    with slurm.running(script) as process:
        slurm.wait_for("running", process)
        for run in psutil.Process(process.pid).children():
            if "./run.py" in run.cmdline():
                run.send_signal(signal.SIGINT)
        said, _ = process.communicate(timeout=60)

    assert process.returncode == 130, said
    assert not slurm.read("scontrol.log")


def test_a_limit_that_leaves_no_time_before_the_signal_is_refused(
    cli: Cli, tmp_path: Path
) -> None:
    arguments = ("submit", write_sweep(tmp_path), "--manifest", "slurm", "--hours")

    assert cli(*arguments, "0.25").code == 0
    refused = cli(*arguments, "0.2")
    assert refused.code == 2
    assert "--hours 0.2: allowed: 0.25 or more" in refused.err
