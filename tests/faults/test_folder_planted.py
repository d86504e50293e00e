"""Files that are damaged or none of ours in a results folder, and a sweep that goes on."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from driver_processes import (
    SWEEP,
    WORKLOAD,
    RunProcess,
    ddp_sweep,
    fault_line,
    no_run_goes_on,  # noqa: F401 - for every test
)

from ddp_sweep.results import load_results

pytestmark = [pytest.mark.ray, pytest.mark.faults, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sweep of four trials that has run."""
    folder = tmp_path_factory.mktemp("planted")
    (folder / "tiny.py").write_text(WORKLOAD)
    (folder / "sweep.yaml").write_text(SWEEP.format(world_sizes=[1, 2], seeds=2))
    ended = RunProcess(folder).finish()
    assert ended.exit_code == 0, ended.err
    return folder


def test_what_is_planted_is_named_and_what_was_damaged_runs_again(done: Path) -> None:
    folder = done / "results" / "tiny"
    first, second, third, fourth = sorted((folder / "trials").iterdir())
    before = load_results(folder).trials.set_index("trial_id")["started_at"]
    first.write_bytes(first.read_bytes()[:-20])
    second.write_bytes(b"")
    shutil.copy(third, folder / "trials" / "copy of a trial.parquet")
    (folder / "trials" / "notes.csv").write_text("mine")
    damaged = folder / "evals" / fourth.name
    damaged.write_bytes(damaged.read_bytes()[:100])
    planted = {
        f"trials/{first.name}": "its trial is run again",
        f"trials/{second.name}": "its trial is run again",
        "trials/copy of a trial.parquet": "it is no part of this sweep",
        "trials/notes.csv": "it is no part of this sweep",
        f"evals/{fourth.name}": "the result of its trial is kept",
    }

    for verb in ("rank", "report", "status"):
        ended = ddp_sweep(done, verb, "results/tiny")
        assert ended.exit_code == 0, ended.err
        assert "Traceback" not in ended.err
        if verb != "report":
            text = (ended.out + ended.err).replace("\n", "").replace(" ", "")
            for name in planted:
                assert name.rpartition("/")[2].replace(" ", "") in text, (verb, name)
    assert all((folder / name).exists() for name in planted), "only a run moves files"

    ended = RunProcess(done).finish()

    assert ended.exit_code == 0, ended.err
    for name, meaning in planted.items():
        (said,) = [line for line in ended.err.splitlines() if f"{folder / name} was moved" in line]
        assert said.startswith("warning: ")
        assert meaning in said
        assert (folder / "_quarantine" / name).exists()
    rows = load_results(folder).trials.set_index("trial_id")
    again = {first.name.rpartition("-")[0], second.name.rpartition("-")[0]}
    assert sorted(rows["attempt"]) == [1, 1, 1, 1]
    assert set(rows["status"]) == {"succeeded"}
    assert set(rows.index[rows["started_at"] != before[rows.index]]) == again
    fault_line("planted files", "quarantined", None, None, 0)


def test_nothing_is_moved_a_second_time(done: Path) -> None:
    ended = RunProcess(done).finish()
    assert ended.exit_code == 0
    assert "All 4 trials were done; nothing ran" in ended.err
    assert "was moved" not in ended.err
