from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest
import torch
from ddp_processes import RankProcesses
from training_workloads import Prepared
from trial_runs import request

from ddp_sweep.errors import WorkloadError
from ddp_sweep.schema import Status
from ddp_sweep.training.inspection import inspect_workload
from ddp_sweep.training.messages import RankFailure, RankReport, WorkerSetup
from ddp_sweep.training.preparation import prepare
from ddp_sweep.training.worker import Worker

PREPARED = "training_workloads:Prepared"


def start_and_run(
    rank: int, variants: list[dict[str, str]], nodes: list[str]
) -> tuple[int, str | None, list[RankReport | RankFailure]]:
    """Start a worker, then run a trial of each variant; process id, what was left, how it went."""
    worker = Worker(
        WorkerSetup(
            workload=PREPARED,
            base_dir=None,
            world_sizes=(1, 2, 3),
            device_type="cpu",
            threads=1,
            workload_options=tuple(variants),
        ),
        rank,
        emit_progress=lambda _progress: None,
        node=nodes[rank],
    )
    results: list[RankReport | RankFailure] = []
    for options in variants:
        wanted = request(PREPARED, 3, 30, options=options, training={"samples": 60})
        try:
            results.append(worker.run(wanted))
        except WorkloadError as error:
            results.append(worker.describe_failure(error))
    return os.getpid(), os.environ.get("LEFT_BY_PREPARE"), results


@pytest.mark.ddp
def test_the_lowest_rank_of_each_node_prepares_once_while_the_others_wait(
    pool: RankProcesses, tmp_path: Path
) -> None:
    variants = [{"folder": str(tmp_path), "name": name} for name in ("one", "two")]
    answers = pool.run(start_and_run, variants, ["near", "far", "near"])
    pids = [pid for pid, _, _ in answers]
    for variant in variants:
        who = [int(line) for line in (tmp_path / variant["name"]).read_text().split()]
        assert sorted(who) == sorted([pids[0], pids[1]])
    for _, left, results in answers:
        # Ranks that did not wait would have found no data.
        assert [result.status for result in results] == [Status.SUCCEEDED] * 2
        assert left is None
        # Not in any part of a trial: preparing takes 0.2 s and more.
        assert all(isinstance(r, RankReport) and "prepare" not in r.seconds for r in results)


@pytest.mark.ddp
def test_what_cannot_be_prepared_fails_on_every_rank_and_nothing_else_does(
    pool: RankProcesses, tmp_path: Path
) -> None:
    good = {"folder": str(tmp_path)}
    answers = pool.run(start_and_run, [good | {"fault": "raises"}, good], ["near"] * 3)
    for _, _, (failed, fine) in answers:
        assert isinstance(failed, RankFailure)
        assert failed.status is Status.WORKLOAD_ERROR
        assert "prepare raised an error" in failed.detail
        assert "OSError: no such host" in failed.detail
        assert fine.status is Status.SUCCEEDED


def test_inspection_prepares_before_it_builds_data(tmp_path: Path) -> None:
    environment = os.environ.get("LEFT_BY_PREPARE")
    assert inspect_workload(Prepared, {"folder": str(tmp_path)}).train_samples == 101
    assert (tmp_path / "data").read_text() == f"{os.getpid()}\n"
    assert os.environ.pop("LEFT_BY_PREPARE") != environment
    assert torch.is_grad_enabled()


def test_groups_of_workers_on_one_host_prepare_one_after_another() -> None:
    inside, seen = [], []

    class Slow:
        def prepare(self) -> None:
            inside.append(1)
            time.sleep(0.02)
            seen.append(len(inside))
            inside.pop()

    threads = [threading.Thread(target=prepare, args=(Slow, {})) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [1] * 8
