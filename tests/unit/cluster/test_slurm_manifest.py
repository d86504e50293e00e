"""The script for Slurm: by shellcheck, and run by bash."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

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
    # Slurm signals the script before the time is up, early enough to end a trial.
    signal, seconds = asked["signal"].removeprefix("B:").split("@")
    assert f"trap 'requeue=yes; kill -INT \"$run\"' {signal}" in text
    assert 0 < int(seconds) < 90 * 60
    assert {"exclusive", "requeue"} <= set(asked)


def test_ray_has_the_whole_node_and_offers_the_cpus_of_the_workers(
    script: Path, slurm: Slurm
) -> None:
    with slurm.running(script) as process:
        slurm.wait_for("running", process)
    [started] = [line for line in slurm.read("srun.log").splitlines() if "ray start" in line]

    assert "--cpus-per-task=64 " in started
    assert "--num-cpus=6 " in started
