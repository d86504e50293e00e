"""What ranks run in tests: whole trials as a gang would run them, and the groups they need."""

from __future__ import annotations

import functools
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from ddp_sweep.plan import Trial, build_plan
from ddp_sweep.spec import DataSettings, QualitySettings, parse_spec
from ddp_sweep.training.messages import RankFailure, RankReport, TrialRequest, WorkerSetup
from ddp_sweep.training.ranks import Ranks
from ddp_sweep.training.worker import Worker

__all__ = ["group_ranks", "process_state", "request", "run_trial", "try_trial", "worker_of"]


def request(
    workload: str,
    world_size: int,
    global_batch_size: int,
    *,
    seed: int = 0,
    options: dict[str, Any] | None = None,
    training: dict[str, Any] | None = None,
    data: dict[str, Any] | None = None,
    quality: dict[str, Any] | None = None,
    trial_timeout_s: float | None = None,
) -> TrialRequest:
    """A request for a trial as the plan of a sweep file makes it."""
    return TrialRequest(
        trial=_trial(workload, world_size, global_batch_size, seed, options, training),
        attempt=1,
        data=DataSettings(**(data or {})),
        quality=QualitySettings(**(quality or {})),
        trial_timeout_s=trial_timeout_s,
    )


def _trial(
    workload: str,
    world_size: int,
    global_batch_size: int,
    seed: int,
    options: dict[str, Any] | None,
    training: dict[str, Any] | None,
) -> Trial:
    spec = parse_spec(
        {
            "name": "test",
            "workload": workload,
            "workload_options": options or {},
            "sweep": {"world_size": [world_size], "global_batch_size": [global_batch_size]},
            "seeds": [seed],
            "training": {
                "learning_rate": 0.05,
                "learning_rate_scaling": "none",
                "evaluations": 1,
                **({"samples": 200} if "epochs" not in (training or {}) else {}),
                **(training or {}),
            },
        }
    )
    plan = build_plan(spec, capacity=None, train_lengths=10**9)
    assert not plan.infeasible, plan.infeasible
    return plan.trials[0]


@functools.cache
def worker_of(rank: int, workload: str) -> Worker:
    """The worker of this process for a workload; to be called on all ranks."""
    processes = dist.get_world_size()
    setup = WorkerSetup(
        workload=workload,
        base_dir=None,
        world_sizes=tuple(range(1, processes + 1)),
        device_type="cuda" if dist.get_backend() == "nccl" else "cpu",
        threads=1,
    )
    return Worker(setup, rank, emit_progress=lambda _progress: None, node="here")


def run_trial(rank: int, workload: str, wanted: TrialRequest) -> RankReport | None:
    """Run a trial on this rank; None from ranks that take no part. To be called on all ranks."""
    worker = worker_of(rank, workload)
    return worker.run(wanted) if rank < wanted.trial.world_size else None


def try_trial(rank: int, workload: str, wanted: TrialRequest) -> RankFailure | None:
    """What the worker makes of the exception that ends a trial."""
    try:
        run_trial(rank, workload, wanted)
    except Exception as error:  # noqa: BLE001 - the worker is to judge it
        return worker_of(rank, workload).describe_failure(error)
    return None


@functools.cache
def group_ranks(rank: int, world_size: int) -> Ranks | None:
    """This rank's view of a group; to be called on all ranks."""
    group = dist.new_group(list(range(world_size))) if world_size > 1 else None
    device = torch.device("cpu")
    return Ranks(rank, world_size, device, group) if rank < world_size else None


def process_state(_rank: int) -> dict[str, Any]:
    """What trials must leave as they found it."""
    return {
        "dtype": torch.get_default_dtype(),
        "threads": torch.get_num_threads(),
        "grad": torch.is_grad_enabled(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "precision": torch.get_float32_matmul_precision(),
        "folder": Path.cwd(),
        "environment": dict(os.environ),
    }


def repeated(rank: int, workload: str, wanted: TrialRequest, times: int) -> None:
    """The same trial several times."""
    for attempt in range(times):
        run_trial(rank, workload, replace(wanted, attempt=attempt + 1))
