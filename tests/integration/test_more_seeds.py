"""Fresh seeds for a sweep that is done: for the undecided, and to confirm the winner."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from ruamel.yaml import YAML

from ddp_sweep.analysis import rank
from ddp_sweep.results import SeedPurpose, load_results

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(600)]

SWEEP = """\
name: seeds
workload: ddp_sweep.workloads.breast_cancer:BreastCancer
sweep: {world_size: [1], global_batch_size: [16, 64]}
seeds: 3
training: {epochs: 1, learning_rate: 0.05, reference_batch_size: 16, evaluations: 1}
quality: {margins: {accuracy: 0.5}, confirm_seeds: 3}
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
    run(tmp_path)  # the confirmation follows in the same session
    run(tmp_path, "--more-seeds", "1")
    again = run(tmp_path)

    results = load_results(tmp_path / "out")
    assert ran(results.trials) == {(batch, seed) for batch in (16, 64) for seed in range(7)}
    assert (results.trials["attempt"] == 1).all()
    assert [(addition.purpose, addition.seeds) for addition in results.additions] == [
        (SeedPurpose.SWEEP, (0, 1, 2)),
        (SeedPurpose.CONFIRMATION, (3, 4, 5)),
        (SeedPurpose.MORE_SEEDS, (6,)),
    ]
    assert results.trials["session_id"].nunique() == 2
    assert "All 14 trials were done" in again.stderr
    recommended = rank(tmp_path / "out").recommendation
    winner = tmp_path / "out" / "_winner.yaml"
    assert winner.exists() == (recommended.fastest is not None)
    if recommended.fastest is not None:
        written = YAML(typ="safe", pure=True).load(winner.read_text())
        assert written["settings"] == recommended.settings
