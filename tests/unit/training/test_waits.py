"""Waiting for other ranks, and passes that wait for none."""

from __future__ import annotations

import time
from unittest import mock

import numpy as np
import pytest
import torch
from ddp_processes import RankProcesses
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from trial_runs import group_ranks, request, run_trial

from ddp_sweep.training.batches import StepIndices
from ddp_sweep.training.communication import exposed_communication_s
from ddp_sweep.training.gradients import GradientStep
from ddp_sweep.training.timing import SynchronizationClock
from ddp_sweep.workload import LossSum

SLEEP_S = 0.2


class Late(nn.Module):
    """One weight; the forward pass of rank 1 takes longer."""

    def __init__(self, rank: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.late = rank == 1

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        if self.late:
            time.sleep(SLEEP_S)
        return inputs * self.weight


def step(model: nn.Module, batch: torch.Tensor) -> LossSum:
    return LossSum(model(batch).sum(), len(batch))


def waits_and_gradients(rank: int, size: int) -> tuple[list[float], float, float, float] | None:
    ranks = group_ranks(rank, size)
    if ranks is None:
        return None
    model = Late(rank)
    wrapped = model if size == 1 else DistributedDataParallel(model, process_group=ranks.group)
    gradient_step = GradientStep(wrapped, step, list(model.parameters()), ranks, weighted=False)
    indices = StepIndices((np.arange(2),), False, 2 * size, 0)
    batch = torch.full((2,), float(rank + 1))
    clock = SynchronizationClock(ranks)
    for _ in range(3):
        model.zero_grad()
        gradient_step.run(indices, iter([batch]), clock=clock)
    assert model.weight.grad is not None
    together = float(model.weight.grad)
    model.zero_grad()
    gradient_step.run(indices, iter([batch]), synchronize=False)
    alone = float(model.weight.grad)
    exposed = exposed_communication_s(
        model, gradient_step, indices, batch, ranks, pass_s=1.0, budget_s=4.0
    )
    assert exposed is not None
    return clock.waits_s().tolist(), together, alone, exposed


@pytest.mark.ddp
def test_the_rank_that_is_early_waits_and_the_late_one_does_not(pool: RankProcesses) -> None:
    early, late = pool.run(waits_and_gradients, 2)[:2]

    assert len(early[0]) == len(late[0]) == 3
    # The first step of DDP waits elsewhere as well, while it sets itself up.
    for first, second in zip(early[0][1:], late[0][1:], strict=True):
        assert first > 0.8 * SLEEP_S
        assert second < first
    # Samples of 1 and of 2, each weighing the same: their mean, or a rank's own alone.
    assert early[1] == late[1] == 1.5
    assert (early[2], late[2]) == (1.0, 2.0)
    # Both passes last as long as the late rank, so its sleep is no communication.
    assert 0 <= early[3] == late[3]


@pytest.mark.ddp
def test_one_rank_waits_for_nobody(pool: RankProcesses) -> None:
    waits, together, alone, exposed = pool.run(waits_and_gradients, 1)[0]

    assert waits == [0.0, 0.0, 0.0]
    assert together == alone == 1.0
    assert exposed == 0.0


def passes_run(rank: int, size: int, pass_s: float, budget_s: float) -> tuple[int, float | None]:
    """Passes that timing communication took on this rank, and what it found."""
    ranks = group_ranks(rank, size)
    if ranks is None:
        return 0, None
    model = Late(rank=0)
    wrapped = model if size == 1 else DistributedDataParallel(model, process_group=ranks.group)
    run = []

    def counted(module: nn.Module, batch: torch.Tensor) -> LossSum:
        run.append(len(batch))
        return step(module, batch)

    gradient_step = GradientStep(wrapped, counted, list(model.parameters()), ranks, weighted=False)
    indices = StepIndices((np.arange(2),), False, 2 * size, 0)
    batch = torch.ones(2)
    gradient_step.run(indices, iter([batch]))
    run.clear()
    found = exposed_communication_s(
        model, gradient_step, indices, batch, ranks, pass_s=pass_s, budget_s=budget_s
    )
    return len(run), found


@pytest.mark.ddp
@pytest.mark.parametrize(
    ("pass_s", "budget_s", "pairs"),
    [(0.5, 0.25, 0), (0.5, 0.9, 0), (0.5, 1.0, 2), (0.5, 3.5, 3), (1e-6, 0.25, 40)],
)
def test_timing_communication_keeps_to_its_budget(
    pool: RankProcesses, pass_s: float, budget_s: float, pairs: int
) -> None:
    for passes, found in pool.run(passes_run, 2, pass_s, budget_s)[:2]:
        assert passes == 2 * pairs
        assert (found is None) == (pairs == 0)


class Recorded:
    """Takes the place of the timing and keeps what it was to take."""

    def __init__(self) -> None:
        self.asked: dict[str, float] = {}

    def __call__(self, *_: object, pass_s: float, budget_s: float) -> None:
        self.asked = {"pass_s": pass_s, "budget_s": budget_s}


def budget_of(rank: int, samples: int) -> dict[str, float]:
    recorded = Recorded()
    workload = "ddp_sweep.workloads.digits:Digits"
    wanted = request(workload, 2, 8, training={"samples": samples, "max_per_worker_batch_size": 2})
    timing = mock.patch("ddp_sweep.training.probes.exposed_communication_s", recorded)
    with timing, mock.patch("ddp_sweep.training.integrity.GradientProbe.step_s", 3.0):
        run_trial(rank, workload, wanted)
    return recorded.asked


@pytest.mark.ddp
@pytest.mark.parametrize(("steps", "budget_s"), [(2, 0.25), (50, 1.5)])
def test_a_long_trial_may_be_probed_longer(
    pool: RankProcesses, steps: int, budget_s: float
) -> None:
    # Two passes a step, and one hundredth of the time of all steps.
    wanted = {"pass_s": 1.5, "budget_s": pytest.approx(budget_s)}
    assert pool.run(budget_of, 8 * steps)[:2] == [wanted, wanted]
