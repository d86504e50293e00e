"""Fresh seeds for a sweep that is done: for the undecided, and to confirm the winner."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from ruamel.yaml import YAML

from ddp_sweep.results import SeedPurpose, load_results

pytestmark = [pytest.mark.ray, pytest.mark.timeout(300)]

SWEEP = """\
name: seeds
workload: ddp_sweep.workloads.breast_cancer:BreastCancer
sweep: {world_size: [1], global_batch_size: [16, 64]}
seeds: 3
training: {epochs: 1, learning_rate: 0.05, reference_batch_size: 16, evaluations: 1}
quality: {margins: {accuracy: 0.5}}
baseline: {world_size: 1, global_batch_size: 16}
"""


def run(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from ddp_sweep.cli import main; main()", "run", "sweep.yaml"]
    done = subprocess.run(
        [*command, "--output", "out", *options],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done


def ran(trials: pd.DataFrame) -> set[tuple[int, int]]:
    return set(zip(trials["global_batch_size"], trials["seed"], strict=True))


def test_seeds_that_are_added_run_once_and_beside_those_that_were_there(tmp_path: Path) -> None:
    (tmp_path / "sweep.yaml").write_text(SWEEP)
    run(tmp_path)
    swept = load_results(tmp_path / "out").trials
    assert ran(swept) == {(batch, seed) for batch in (16, 64) for seed in range(3)}

    run(tmp_path, "--more-seeds", "1")
    run(tmp_path, "--set", "quality.confirm_seeds=2")
    again = run(tmp_path, "--set", "quality.confirm_seeds=2")

    results = load_results(tmp_path / "out")
    assert ran(results.trials) == {(batch, seed) for batch in (16, 64) for seed in range(6)}
    assert (results.trials["attempt"] == 1).all()
    assert [addition.purpose for addition in results.additions] == [
        SeedPurpose.SWEEP,
        SeedPurpose.MORE_SEEDS,
        SeedPurpose.CONFIRMATION,
    ]
    assert results.trials["session_id"].nunique() == 3
    assert "All 12 trials were done" in again.stderr
    winner = YAML(typ="safe", pure=True).load((tmp_path / "out" / "_winner.yaml").read_text())
    assert winner["settings"]["global_batch_size"] == 64
