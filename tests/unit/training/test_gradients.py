from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
from ddp_processes import RankProcesses
from plain_loop import Problem, digits, fraud, whole_batch_gradient
from torch import nn
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook
from torch.nn.parallel import DistributedDataParallel
from training_workloads import OddDigits
from trial_runs import group_ranks

from ddp_sweep.spec import DataSettings, TrainingSettings
from ddp_sweep.training.batch_steps import training_step
from ddp_sweep.training.batches import BatchPlan, epoch_permutation
from ddp_sweep.training.gradients import GradientStep
from ddp_sweep.training.integrity import GradientProbe
from ddp_sweep.training.loading import BatchSource
from ddp_sweep.training.model import wrap_model
from ddp_sweep.workloads.fraud import Fraud

pytestmark = pytest.mark.ddp

SEED = 5
STEPS = {"full": 0, "last, uneven": -1}


def _sum_instead_of_mean(state: Any, bucket: Any) -> Any:
    work = dist.all_reduce(bucket.buffer(), group=state, async_op=True)
    return work.get_future().then(lambda done: done.value()[0])


def _stay_apart(_state: Any, bucket: Any) -> Any:
    future: torch.futures.Future[Any] = torch.futures.Future()
    future.set_result(bucket.buffer())
    return future


class _ApartAfterTheFirstStep:
    """What DDP with a static graph does once it has miscounted."""

    def __init__(self) -> None:
        self._steps = 0

    def __call__(self, state: Any, bucket: Any) -> Any:
        self._steps += bucket.is_last()
        apart = self._steps > bucket.is_last()
        return _stay_apart(state, bucket) if apart else allreduce_hook(state, bucket)


LATER = _ApartAfterTheFirstStep()
# Lambdas, since DDP refuses hooks whose annotations are strings, as they all are here.
FAULTS = {
    "sum": lambda state, bucket: _sum_instead_of_mean(state, bucket),
    "apart": lambda state, bucket: _stay_apart(state, bucket),
    "apart after the first step": lambda state, bucket: LATER(state, bucket),
}


def measured(
    rank: int,
    world_size: int,
    weighted: bool,
    batch_size: int,
    micro_batch_size: int,
    at: int,
    fault: str | None,
) -> tuple[list[np.ndarray], float | None] | None:
    """Gradients that one step leaves on this rank, and what the probe says of them."""
    ranks = group_ranks(rank, world_size)
    if ranks is None:
        return None
    workload = Fraud(class_weight=10.0, samples=1003) if weighted else OddDigits()
    torch.manual_seed(SEED)
    model = workload.build_model()
    source = BatchSource(workload.build_data()[0], workload, DataSettings(), ranks.device)
    plan = BatchPlan(
        num_samples=len(source),
        budget=len(source),
        global_batch_size=batch_size,
        per_worker_batch_size=micro_batch_size,
        world_size=world_size,
        rank=rank,
        seed=SEED,
    )
    indices = list(plan.steps())[at]
    step = training_step(workload, ranks.device, "float32")
    probe = GradientProbe(model, step, source, indices, ranks)
    wrapped = wrap_model(model, ranks, TrainingSettings(learning_rate=1.0))
    if fault is not None:
        assert isinstance(wrapped, DistributedDataParallel)
        wrapped.register_comm_hook(ranks.group, FAULTS[fault])
    gradient_step = GradientStep(wrapped, step, list(model.parameters()), ranks, weighted=weighted)
    error = probe.error(gradient_step)
    gradient_step.run(indices, iter([source.fetch(part) for part in indices.micro_batches]))
    return [_array(parameter) for parameter in model.parameters()], error


def _array(parameter: nn.Parameter) -> np.ndarray:
    assert parameter.grad is not None
    return parameter.grad.numpy().copy()


@functools.cache
def reference(weighted: bool) -> Problem:
    return fraud(1003, 10.0) if weighted else digits(997)


def distance(left: list[np.ndarray], right: list[torch.Tensor]) -> float:
    """Norm of the difference relative to the norm of the right one."""
    gap = [one - other.numpy() for one, other in zip(left, right, strict=True)]
    norm = np.sqrt(sum(float((other**2).sum()) for other in right))
    return float(np.sqrt(sum(float((part**2).sum()) for part in gap)) / norm)


@pytest.mark.parametrize("accumulation", [1, 2])
@pytest.mark.parametrize("at", STEPS.values(), ids=list(STEPS))
@pytest.mark.parametrize("weighted", [False, True], ids=["unweighted", "class weights"])
@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_the_gradient_is_that_of_one_process_on_the_whole_batch(
    pool: RankProcesses, world_size: int, weighted: bool, at: int, accumulation: int
) -> None:
    problem = reference(weighted)
    # The last batch of digits has 3 samples (all ranks but one are idle), that of fraud 32.
    batch_size = 60 if weighted else 497
    micro = -(-batch_size // (world_size * accumulation))
    order = epoch_permutation(len(problem.train_y), SEED, 0)
    starts = range(0, len(order), batch_size)
    rows = torch.from_numpy(order[starts[at] : starts[at] + batch_size])
    expected = whole_batch_gradient(problem, SEED, rows)

    results = pool.run(measured, world_size, weighted, batch_size, micro, at, None)
    for gradients, error in results[:world_size]:
        assert distance(gradients, expected) < 1e-6
        assert error < 1e-6


@pytest.mark.parametrize(
    ("fault", "least"), [("sum", 0.9), ("apart", 0.1), ("apart after the first step", 0.1)]
)
def test_the_probe_notices_gradients_that_are_wrong(
    pool: RankProcesses, fault: str, least: float
) -> None:
    results = pool.run(measured, 2, False, 60, 30, 0, fault)
    assert all(error > least for _, error in results[:2])
