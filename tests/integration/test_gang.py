"""A warm group of workers on a local Ray: many trials, one set of processes, nothing left."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import fake_ranks
import psutil
import pytest
import ray
from fake_ranks import FakeWorker, sweep_over
from ray.util import placement_group_table
from ray.util.state import list_actors

from ddp_sweep.cluster.connection.capacity import connect
from ddp_sweep.cluster.connection.environment import quiet_driver
from ddp_sweep.cluster.gang.gang import Gang
from ddp_sweep.cluster.gang.serving import GangSettings
from ddp_sweep.plan import Trial, build_plan
from ddp_sweep.spec import DataSettings, QualitySettings
from ddp_sweep.training.messages import RankReport, TrialRequest, WorkerSetup

pytestmark = [pytest.mark.ray, pytest.mark.timeout(600)]

SPEC = sweep_over("none", world_sizes=(1, 2, 3))


@pytest.fixture(scope="module", autouse=True)
def _ray() -> Iterator[None]:
    ray.cloudpickle.register_pickle_by_value(fake_ranks)
    with quiet_driver(), connect(None, SPEC):
        yield
    ray.cloudpickle.unregister_pickle_by_value(fake_ranks)


@pytest.fixture
def gang(tmp_path: Path) -> Iterator[Gang]:
    setup = WorkerSetup(
        workload=SPEC.workload,
        base_dir=None,
        world_sizes=(1, 2, 3),
        device_type="cpu",
        threads=1,
    )
    settings = GangSettings(
        world_size=3,
        setup=setup,
        worker_factory=FakeWorker,
        resources_per_worker={"CPU": 1},
        placement_strategy="PACK",
        start_timeout_s=300,
        stall_timeout_s=300,
        storage=tmp_path,
    )
    gang = Gang(settings, "under-test")
    assert gang.start() is None
    yield gang
    gang.abort()


def trials() -> dict[int, Trial]:
    plan = build_plan(SPEC, capacity=None, train_lengths=512)
    return {trial.world_size: trial for trial in plan.trials}


def request(trial: Trial, attempt: int) -> TrialRequest:
    return TrialRequest(
        trial=trial, attempt=attempt, data=DataSettings(), quality=QualitySettings()
    )


def ranks_that_met(reports: tuple[RankReport, ...]) -> set[int | None]:
    return {report.samples for report in reports}


def test_trials_of_all_world_sizes_share_one_set_of_processes(gang: Gang) -> None:
    by_size = trials()
    processes: dict[int, set[int | None]] = {rank: set() for rank in range(3)}
    for attempt, size in enumerate([3, 1, 2, 1, 3, 2, 2, 3], start=1):
        outcome = gang.run(request(by_size[size], attempt))
        assert outcome.failure is None
        assert [report.rank for report in outcome.reports] == list(range(size))
        assert ranks_that_met(outcome.reports) == {size}
        for report in outcome.reports:
            processes[report.rank].add(report.peak_memory_bytes)
    assert [len(pids) for pids in processes.values()] == [1, 1, 1]

    assert gang.alive
    assert gang.close()
    assert not gang.alive
    assert not any(psutil.pid_exists(pid or 0) for pids in processes.values() for pid in pids)
    living = {"CREATED", "PENDING", "PREPARED", "RESCHEDULING"}
    groups = placement_group_table().values()
    assert not [group for group in groups if group["state"] in living]
    classes = {actor.class_name for actor in list_actors(filters=[("state", "=", "ALIVE")])}
    assert not classes & {"RayTrainWorker", "TrainController", "Mailbox"}
