"""Waiting for other ranks, and passes that wait for none."""

from __future__ import annotations

import time

import numpy as np
import pytest
import torch
from ddp_processes import RankProcesses
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from trial_runs import group_ranks

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
    exposed = exposed_communication_s(model, gradient_step, indices, batch, ranks)
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
