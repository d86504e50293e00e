from __future__ import annotations

import os
from typing import Any

import numpy as np
import psutil
import pytest
import torch
from ddp_processes import RankProcesses
from torch.utils.data import Dataset
from training_workloads import Layers
from trial_runs import request, run_trial

from ddp_sweep.schema import Status
from ddp_sweep.spec import DataSettings
from ddp_sweep.training.batches import Indices
from ddp_sweep.training.loading import BatchSource

CPU = torch.device("cpu")
LAYERS = "training_workloads:Layers"


class Loaders(Dataset[tuple[int, int]]):
    """Each sample tells which process loaded it."""

    def __len__(self) -> int:
        return 40

    def __getitem__(self, index: int) -> tuple[int, int]:
        return index, os.getpid()


def source(**settings: Any) -> BatchSource:
    return BatchSource(Loaders(), Layers("plain"), DataSettings(**settings), CPU)


def batches(size: int = 7) -> list[Indices]:
    return [np.arange(start, min(40, start + size)) for start in range(0, 40, size)]


def processes(delivered: list[Any]) -> set[int]:
    rows = [int(row) for indices, _ in delivered for row in indices]
    assert rows == list(range(40))
    return {int(pid) for _, pids in delivered for pid in pids}


# Not an error but a warning, which the settings of the tests make one: nothing is pinned on a CPU.
@pytest.mark.parametrize("pin_memory", ["auto", True, False])
@pytest.mark.parametrize("loader_workers", ["auto", 0, 1, 2])
def test_samples_are_loaded_by_as_many_processes_as_asked_for(
    loader_workers: Any, pin_memory: Any
) -> None:
    given = source(loader_workers=loader_workers, pin_memory=pin_memory)
    seen = processes(list(given.stream((part, 0) for part in batches())))
    workers = 0 if loader_workers == "auto" else loader_workers
    assert given.loader_workers == workers
    assert len(seen - {os.getpid()}) == workers
    assert (os.getpid() in seen) == (workers == 0)


def test_loading_processes_of_evaluations_stay_until_the_source_is_closed() -> None:
    given = source(loader_workers=2)
    first, again = (processes(list(given.stream_again(batches()))) for _ in range(2))
    assert len(first) == 2
    assert first == again
    running = {child.pid for child in psutil.Process().children()}
    assert first <= running
    given.close()
    assert not first & {child.pid for child in psutil.Process().children()}


def test_starting_loaders_leaves_the_global_generator_alone() -> None:
    state = torch.get_rng_state()
    for workers in (0, 1):
        list(source(loader_workers=workers).stream((part, 0) for part in batches()))
    assert torch.equal(torch.get_rng_state(), state)


def test_a_single_batch_is_read_by_a_loading_process_too() -> None:
    rows, pids = source(loader_workers=2).fetch(np.arange(5, 12))
    assert rows.tolist() == list(range(5, 12))
    assert len(set(pids.tolist()) - {os.getpid()}) == 1
    assert source(loader_workers=0).fetch(np.arange(3))[1].tolist() == 3 * [os.getpid()]


def test_a_few_batches_are_read_by_one_process_whose_chance_goes_on() -> None:
    given = BatchSource(Drawn(), Layers("plain"), DataSettings(loader_workers=2), CPU)
    first, again = given.stream_few([(np.arange(4), 0), (np.arange(4), 0)])
    assert not torch.equal(first, again)


class Drawn(Dataset[float]):
    """A sample is a random number from a generator of the data set's own."""

    def __init__(self) -> None:
        self.rng = np.random.default_rng(0)

    def __len__(self) -> int:
        return 4

    def __getitem__(self, _index: int) -> float:
        return float(self.rng.random())


@pytest.mark.ddp
@pytest.mark.parametrize("accumulation", [1, 2])
def test_the_process_that_trains_reads_no_sample_where_others_do(
    pool: RankProcesses, accumulation: int
) -> None:
    workload = "loading_workloads:ReadElsewhere"
    wanted = request(
        workload,
        2,
        20,
        training={"samples": 101, "max_per_worker_batch_size": 10 // accumulation},
        data={"loader_workers": 2},
    )
    reports = pool.run(run_trial, workload, wanted)[:2]
    for report in reports:
        assert report.status is Status.SUCCEEDED
        assert report.gradient_error < 1e-6
        assert report.traces_comparable is True
        # The validation rows are the first of the training rows.
        assert report.train_val_overlap == 41


@pytest.mark.ddp
@pytest.mark.parametrize(("asked", "size"), [(13, 13), (100, 41), ("auto", 16)])
def test_evaluation_batches_are_as_large_as_asked_for(
    pool: RankProcesses, asked: Any, size: int
) -> None:
    workload = "training_workloads:CountsBatches"
    wanted = request(
        workload,
        1,
        4,
        options={"size": size},
        training={"samples": 8},
        data={"evaluation_batch_size": asked},
    )
    report = pool.run(run_trial, workload, wanted)[0]
    assert report.status is Status.SUCCEEDED
    assert report.eval_samples == 41


@pytest.mark.ddp
@pytest.mark.parametrize("world_size", [1, 2, 3])
@pytest.mark.parametrize(
    ("batch", "micro"),
    # 101 = 3 x 33 + 2 = 5 x 20 + 1; 12 x 8 + 5, 50 x 2 + 1.
    [(66, 33), (66, 11), (20, 20), (12, 4), (50, 25)],
)
def test_batch_norm_trains_whatever_is_left_for_the_last_batch(
    pool: RankProcesses, world_size: int, batch: int, micro: int
) -> None:
    batch -= batch % world_size
    wanted = request(
        LAYERS,
        world_size,
        batch,
        options={"kind": "batch_norm"},
        training={"epochs": 2, "max_per_worker_batch_size": micro},
    )
    report = pool.run(run_trial, LAYERS, wanted)[0]
    assert report.status is Status.SUCCEEDED
    assert report.samples == 2 * 101
    assert report.replica_divergence == 0.0
    assert report.traces_comparable is False
