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
import pytest
import ray
from fake_ranks import run, sweep_over
from ray.util import placement_group_table
from ray.util.state import list_actors

from ddp_sweep.cluster.connection.capacity import connect
from ddp_sweep.cluster.connection.environment import quiet_driver
from ddp_sweep.errors import CapacityError, SpecChangedError
from ddp_sweep.results import load_results

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(600)]

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
