"""What synchronizing gradients adds to a step, measured before the training."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from ddp_sweep.training.batches import StepIndices
from ddp_sweep.training.gradients import GradientStep
from ddp_sweep.training.ranks import Ranks

__all__ = ["exposed_communication_s"]

_LEAST_PAIRS = 2
_MOST_PAIRS = 40


def exposed_communication_s(
    model: nn.Module,
    gradient_step: GradientStep,
    indices: StepIndices,
    batch: Any,  # noqa: ANN401 - a batch is what the user makes it
    ranks: Ranks,
    *,
    pass_s: float,
    budget_s: float,
    now: Callable[[], float] = time.perf_counter,
) -> float | None:
    """Time of forward and backward with synchronization less that without, of the slowest rank.

    Communication that runs beside the backward pass and delays nothing does not count; what it
    takes from computation beside it does. Both are run in turn, each from a barrier, first the one
    and then the other. The mean of the differences and not a median: a step that waits long is
    part of what a training pays.
    The caller keeps weights, buffers and random state and puts them back afterwards.

    Args:
        model: The bare model, for its gradients.
        gradient_step: The step; must have run before, so that DDP has settled its buckets.
        indices: A step of the trial.
        batch: Its last micro-batch: only there gradients are synchronized.
        ranks: The ranks of the trial.
        pass_s: About what such a pass takes, the same on all ranks.
        budget_s: What all of them may take, the same on all ranks; two pairs run if one fits.
        now: Clock in seconds.

    Returns:
        None where not even one pair of passes fits into the budget; the waits of every step of the
        training are known all the same.
    """
    if ranks.group is None:
        return 0.0
    affordable = int(budget_s / max(1e-9, 2 * pass_s))
    if affordable < 1:
        return None
    turns = min(_MOST_PAIRS, max(_LEAST_PAIRS, affordable))
    last = replace(indices, micro_batches=indices.micro_batches[-1:])

    def seconds(synchronize: bool) -> float:
        model.zero_grad()
        own = copy.deepcopy(batch)  # a model may work in place
        ranks.barrier()
        began = now()
        gradient_step.run(last, iter([own]), synchronize=synchronize)
        ranks.synchronize()
        return now() - began

    pairs = []
    for turn in range(turns):
        # In turn, so that neither is always the one that runs on a warm cache.
        order = (True, False) if turn % 2 else (False, True)
        times = {synchronize: seconds(synchronize) for synchronize in order}
        pairs.append([times[False], times[True]])
    model.zero_grad()
    device = ranks.device
    slowest = ranks.max_(torch.tensor(pairs, dtype=torch.float64, device=device))
    alone, together = slowest.mean(dim=0).tolist()
    return max(0.0, float(together - alone))
