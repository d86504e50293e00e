"""Whole sweeps with workers that misbehave: every trial gets its rows, and nothing is left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import fake_ranks
import pandas as pd
import pytest
import ray
from fake_ranks import run, sweep_over
from ray.util import placement_group_table
from ray.util.state import list_actors

from ddp_sweep.cluster.connection.capacity import connect
from ddp_sweep.cluster.connection.environment import quiet_driver
from ddp_sweep.errors import CapacityError, SpecChangedError
from ddp_sweep.results import load_results

pytestmark = [pytest.mark.ray, pytest.mark.faults, pytest.mark.timeout(600)]

OURS = {"RayTrainWorker", "TrainController", "Mailbox", "PlacementGroupCleaner"}


@pytest.fixture(scope="module", autouse=True)
def _ray() -> Iterator[None]:
    ray.cloudpickle.register_pickle_by_value(fake_ranks)
    with quiet_driver(), connect(None, sweep_over("none", world_sizes=(1, 2))):
        yield
    ray.cloudpickle.unregister_pickle_by_value(fake_ranks)


@pytest.fixture(autouse=True)
def _nothing_is_left() -> Iterator[None]:
    yield
    deadline = time.monotonic() + 60
    while (left := actors_left() + groups_left()) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert not left


def actors_left() -> list[str]:
    alive = list_actors(filters=[("state", "=", "ALIVE")])
    return [actor.class_name for actor in alive if actor.class_name in OURS]


def groups_left() -> list[str]:
    groups = placement_group_table().values()
    return [group["state"] for group in groups if group["state"] != "REMOVED"]


def attempts(folder: Path) -> pd.DataFrame:
    trials = load_results(folder).trials
    fault = trials["parameters"].str.extract(r'"workload_options.fault": "(\w+)"')[0]
    return trials.assign(fault=fault).sort_values(["fault", "attempt"], ignore_index=True)


def test_a_fault_costs_its_own_trial_only(tmp_path: Path) -> None:
    faults = ("none", "raise", "exit", "hang", "orphan", "recycle")
    outcome = run(sweep_over(*faults, stall_timeout_s=5, max_attempts=2), tmp_path)

    rows = attempts(tmp_path)
    ends = {fault: list(group["status"]) for fault, group in rows.groupby("fault")}
    assert ends == {
        "none": ["succeeded"],
        "raise": ["workload_error"],
        "exit": ["worker_died", "succeeded"],
        "hang": ["timed_out", "succeeded"],
        "orphan": ["worker_died", "succeeded"],
        "recycle": ["succeeded"],
    }
    details = rows[~rows["status"].isin(["succeeded"])].set_index("fault")["status_detail"]
    assert "rank 1: ValueError('asked to')" in details["raise"]
    assert "rank 1: the worker process died" in details["exit"]
    assert "stalled: no progress for 5 s; last seen: stage begun" in details["hang"]
    assert "the process that drives the workers died" in details["orphan"]
    assert outcome.exit_code == 1
    assert outcome.ran == 9
    # Every failure is followed by new workers, and a retry comes right after its first attempt.
    ordered = rows.dropna(subset=["started_at"]).sort_values("started_at")
    failed = ordered["status"].ne("succeeded") | ordered["fault"].eq("recycle")
    renewed = ordered["gang_id"].ne(ordered["gang_id"].shift(-1))
    assert renewed[failed].all()
    retried = [fault for fault, group in ordered.groupby("fault", sort=False) if len(group) > 1]
    for fault in retried:
        places = (ordered["fault"] == fault).to_numpy().nonzero()[0]
        assert places[1] == places[0] + 1


def test_a_trial_that_is_lost_for_good_is_no_success(tmp_path: Path) -> None:
    outcome = run(sweep_over("exit", "none", max_attempts=1), tmp_path)
    assert outcome.exit_code == 1
    assert sorted(load_results(tmp_path).trials["status"]) == ["succeeded", "worker_died"]


def test_a_finished_folder_runs_nothing_and_a_changed_sweep_is_refused(tmp_path: Path) -> None:
    spec = sweep_over("none", world_sizes=(1, 2))
    assert run(spec, tmp_path).exit_code == 0
    files = sorted(tmp_path.rglob("*.parquet"))

    again = run(spec, tmp_path)
    assert (again.exit_code, again.ran) == (0, 0)
    assert "nothing ran" in again.message
    with pytest.raises(SpecChangedError, match=r"world_size: \[1, 2\] there, \[2\] now"):
        run(sweep_over("none", world_sizes=(2,)), tmp_path)
    assert sorted(tmp_path.rglob("*.parquet")) == files


def test_a_world_size_over_capacity_becomes_a_row(tmp_path: Path) -> None:
    outcome = run(sweep_over("none", world_sizes=(1, 64)), tmp_path)

    rows = load_results(tmp_path).trials.set_index("world_size")
    assert rows["status"].to_dict() == {1: "succeeded", 64: "infeasible"}
    assert "64 workers" in rows.loc[64, "status_detail"]
    assert outcome.exit_code == 0

    again = run(sweep_over("none", world_sizes=(1, 64)), tmp_path)
    assert (again.exit_code, again.ran) == (0, 0)
    assert "All 2 trials were done; nothing ran" in again.message


def test_a_gpu_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(CapacityError, match="no GPU on 1 node"):
        run(sweep_over("none", device="gpu"), tmp_path)


class Driver:
    """A sweep in a process of its own, in a session of its own, as under a shell."""

    def __init__(self, folder: Path, *faults: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, fake_ranks.__file__, str(folder), *faults],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.lines: list[str] = []

    def wait_for(self, words: str) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.lines.append(line)
            if words in line:
                return
        pytest.fail("".join(self.lines))

    def press_ctrl_c(self) -> None:
        # A terminal sends it to every process of the foreground group.
        os.killpg(self.process.pid, signal.SIGINT)

    def finish(self) -> tuple[int, str, str]:
        out, err = self.process.communicate(timeout=240)
        return self.process.returncode, out, "".join(self.lines) + err


def test_ctrl_c_drains_then_stops_and_the_next_run_goes_on(tmp_path: Path) -> None:
    marks = [tmp_path / name for name in ("a", "b", "c")]
    for folder in marks:
        folder.mkdir()
    faults = tuple(f"wait:{folder}" for folder in marks)
    results = tmp_path / "results"

    once = Driver(results, *faults)
    wait_for_any(marks, "begun")
    once.press_ctrl_c()
    once.wait_for("stopping after the running trial")
    running = next(folder for folder in marks if (folder / "begun").exists())
    (running / "go").touch()
    exit_code, out, err = once.finish()
    assert exit_code == 130, err
    assert out.startswith("Interrupted; 1 of 3 trials have a result: 1 succeeded. To go on:")
    assert out.rstrip().endswith("ddp-sweep run again")
    assert "Traceback" not in err

    others = [folder for folder in marks if folder != running]
    twice = Driver(results, *faults)
    wait_for_any(others, "begun")
    twice.press_ctrl_c()
    twice.wait_for("stopping after the running trial")
    twice.press_ctrl_c()
    exit_code, out, err = twice.finish()
    assert exit_code == 130, err
    assert "1 of 3" in out
    assert "Traceback" not in err
    assert sorted(load_results(results).trials["status"]) == ["interrupted", "succeeded"]

    for folder in others:
        (folder / "go").touch()
    # By the same script: the code of a workload in __main__ is known by itself, not by its file.
    exit_code, _, err = Driver(results, *faults).finish()
    assert exit_code == 0, err
    rows = load_results(results).trials
    assert set(rows[rows["final"]]["status"]) == {"succeeded"}
    assert sorted(rows["attempt"]) == [1, 1, 1, 2]


def wait_for_any(folders: list[Path], name: str) -> None:
    deadline = time.monotonic() + 240
    while not any((folder / name).exists() for folder in folders):
        assert time.monotonic() < deadline
        time.sleep(0.05)
