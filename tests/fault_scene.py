"""What tests of faults share: the sweep, killing from outside, and what may be left after it."""

from __future__ import annotations

import json
import os
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fault_workloads
import pandas as pd
import psutil
import ray
from ray.util import placement_group_table
from ray.util.state import list_actors

from ddp_sweep.cluster.driver.sweep import SweepOutcome, run_sweep
from ddp_sweep.plan import build_plan
from ddp_sweep.results import load_results
from ddp_sweep.spec import SweepSpec, parse_spec

__all__ = [
    "Killed",
    "Marker",
    "attempts",
    "first_fault",
    "killing",
    "marked_processes",
    "marker",
    "nothing_is_left",
    "pid_of_actor",
    "processes_with",
    "run",
    "seen",
    "sweep_over",
]

TAG = "DDP_SWEEP_TEST_SESSION"
"""Set in the environment that Ray is started in: whatever stems from there bears it, also where
its parent has died."""
RAYS_OWN = (
    "raylet",
    "gcs_server",
    "ray::IDLE",
    "ray::DashboardAgent",
    "ray::RuntimeEnvAgent",
    "ray-dashboard",
    "/dashboard/dashboard.py",
    "/dashboard/agent.py",
    "/runtime_env/agent/main.py",
    "/log_monitor.py",
    "/autoscaler/_private/monitor.py",
    "/autoscaler/v2/monitor.py",
    "ray::_AutoscalingCoordinatorActor",
    "multiprocessing.forkserver",
    "multiprocessing.resource_tracker",
)
"""Processes that live as long as Ray does: it runs them for itself."""
OURS = {
    "RayTrainWorker",
    "TrainController",
    "Mailbox",
    "PlacementGroupCleaner",
    "ResourceTrainable",
}
"""Actors of a sweep."""
LEAVING_S = 60.0
"""How long what a sweep used may take to go once it has ended."""


def sweep_over(
    folder: Path,
    *faults: str,
    world_sizes: tuple[int, ...] = (2,),
    epochs: int = 2,
    guilty: int = 1,
    workload: str = "Victim",
    seeds: Any = None,
    **resources: Any,
) -> SweepSpec:
    """A sweep of one trial for each fault and world size; the first fault comes first.

    That is so unless ``seeds`` are given; the other settings are those of ``resources``.
    """

    def spec(chosen: Any) -> SweepSpec:
        return parse_spec(
            {
                "name": "faults",
                "workload": f"{fault_workloads.__file__}:{workload}",
                "workload_options": {"folder": str(folder), "guilty": guilty},
                "sweep": {
                    "world_size": list(world_sizes),
                    "per_worker_batch_size": [8],
                    "workload_options.fault": list(faults),
                },
                "seeds": chosen,
                "training": {
                    "epochs": epochs,
                    "learning_rate": 0.1,
                    "reference_batch_size": 8,
                    "evaluations": 1,
                },
                "resources": {"stall_timeout_s": 60, "max_attempts": 2, **resources},
            }
        )

    if seeds is not None:
        return spec(seeds)
    # The order within a block is drawn from its seed.
    candidates = (spec([seed]) for seed in range(1000))
    return next(one for one in candidates if first_fault(one) == faults[0])


def first_fault(spec: SweepSpec) -> Any:
    first = build_plan(spec, capacity=None, train_lengths=384).trials[0]
    return first.workload_options["fault"]


def run(spec: SweepSpec, folder: Path) -> SweepOutcome:
    return run_sweep(spec, output=folder, progress="plain", resume_command="ddp-sweep run again")


def attempts(folder: Path) -> pd.DataFrame:
    """All rows of a results folder, with the fault that each was asked for, in order."""
    trials = load_results(folder).trials
    fault = trials["parameters"].str.extract(r'"workload_options.fault": "(\w+)"')[0]
    return trials.assign(fault=fault).sort_values(["finished_at", "attempt"], ignore_index=True)


@dataclass(frozen=True)
class Marker:
    """When a fault began, and in which process."""

    pid: int
    at_s: float


def marker(folder: Path, fault: str) -> Marker:
    """What a rank has written down right before its fault; waits for it."""
    deadline = time.monotonic() + 120
    while not (folder / fault).exists():
        assert time.monotonic() < deadline, f"the fault {fault} never came"
        time.sleep(0.02)
    return Marker(**json.loads((folder / fault).read_text()))


@dataclass
class Killed:
    """A process that was killed from outside."""

    pid: int = 0
    at_s: float = 0.0
    error: BaseException | None = None


@contextmanager
def killing(folder: Path, find: Callable[[Marker], int]) -> Iterator[Killed]:
    """Kill a process once a trial trains; ``find`` gets the id of the rank's and says which."""
    killed = Killed()

    def kill() -> None:
        try:
            found = find(marker(folder, "killed"))
            process = psutil.Process(found)
            name = " ".join(process.cmdline())[:60]
            killed.pid, killed.at_s = found, time.time()
            process.kill()
            process.wait(10)
            print(f"killed process {found} ({name}); it is gone: {not psutil.pid_exists(found)}")
        except BaseException as error:  # noqa: BLE001 - raised in the test's own thread
            killed.error = error

    thread = threading.Thread(target=kill)
    thread.start()
    yield killed
    thread.join()
    if killed.error is not None:
        raise killed.error
    assert not psutil.pid_exists(killed.pid)


def pid_of_actor(name: str) -> int:
    """Id of the one process of the tests' Ray in which an actor of a class runs."""
    found = []
    for process in processes_with(os.environ[TAG]):
        with suppress(psutil.Error):
            if f"ray::{name}" in " ".join(process.cmdline()):
                found.append(process.pid)
    assert len(found) == 1, found
    return found[0]


def _living_actors() -> list[Any]:
    # Other clusters may run on this machine.
    here = ray.get_runtime_context().gcs_address
    return list_actors(address=here, filters=[("state", "=", "ALIVE")], limit=1000)


def seen(fault: str, rows: pd.DataFrame, at_s: float, planned: int) -> None:
    """Print how a fault ended, which must be in the first of the rows that have ended since."""
    ended = rows["finished_at"].map(pd.Timestamp.timestamp)
    row = rows[ended >= at_s].iloc[0]
    started = rows["started_at"].dropna().map(pd.Timestamp.timestamp)
    later = started[started > row["finished_at"].timestamp()]
    after_s = f"{later.min() - at_s:.1f} s" if len(later) else "none was left"
    lost = planned - int(rows["final"].sum())
    print(
        f"fault: {fault} status: {row['status']} "
        f"seen after: {row['finished_at'].timestamp() - at_s:.1f} s "
        f"next trial after: {after_s} rows lost: {lost}"
    )
    assert lost == 0


@contextmanager
def tagged(scratch: Path) -> Iterator[str]:
    """Mark all processes started meanwhile, and send our temporary files to one folder."""
    tag = uuid.uuid4().hex
    before = tempfile.tempdir
    os.environ[TAG] = tag
    tempfile.tempdir = str(scratch)
    try:
        yield tag
    finally:
        tempfile.tempdir = before
        del os.environ[TAG]


def processes_with(tag: str) -> list[psutil.Process]:
    """Processes that bear the tag, this one aside."""
    found = []
    for process in psutil.process_iter():
        try:
            tagged = process.environ().get(TAG) == tag
            if tagged and process.pid != os.getpid() and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:
            continue
    return found


def marked_processes(tag: str) -> list[str]:
    """Processes that bear the tag, other than this one and those that Ray runs for itself."""
    found = []
    for process in processes_with(tag):
        try:
            name = " ".join(process.cmdline())
        except psutil.Error:
            continue
        if not any(own in name for own in RAYS_OWN):
            found.append(f"{process.pid} {name}")
    return found


def nothing_is_left(tag: str, scratch: Path, results: Path | None = None) -> None:
    """Fail where a process, an actor, a placement group or a file of a sweep stays."""
    deadline = time.monotonic() + LEAVING_S
    while (left := _left(tag, scratch, results)) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert not left


def _left(tag: str, scratch: Path, results: Path | None) -> list[str]:
    found = marked_processes(tag)
    # PyTorch makes a folder for compiled code once in a process, and keeps it.
    found += [str(one) for one in scratch.iterdir() if not one.name.startswith("torchinductor")]
    if results is not None and results.exists():
        # Whole files are there under their names; what begins otherwise was never finished.
        found += [str(file) for file in results.rglob(".*") if file.is_file()]
    if ray.is_initialized():
        names = [actor.class_name for actor in _living_actors()]
        found += [name for name in names if name.rpartition(".")[2] in OURS]
        groups = placement_group_table().values()
        found += [f"placement group {g['state']}" for g in groups if g["state"] != "REMOVED"]
    return found
