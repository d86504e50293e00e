"""A workload and a worker that misbehave on demand, to try what surrounds them.

Also a program: ``python fake_ranks.py FOLDER FAULT...`` runs a sweep over these faults, as a
process of its own that a test can interrupt.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.utils.data import Dataset, TensorDataset

from ddp_sweep import Binary, SweepSpec
from ddp_sweep.cluster.driver.sweep import SweepOutcome, run_sweep
from ddp_sweep.live import Observer
from ddp_sweep.schema import Status
from ddp_sweep.spec import parse_spec
from ddp_sweep.training.messages import RankFailure, RankReport, TrialRequest, WorkerSetup

__all__ = ["FakeWorker", "Tiny", "run", "sweep_over"]


class Tiny:
    """The smallest workload; ``fault`` is for the worker, which does not train."""

    task = Binary()

    def __init__(self, fault: str = "none") -> None:
        self.fault = fault

    def build_model(self) -> nn.Module:
        return nn.Sequential(nn.Linear(2, 1), nn.Flatten(0))

    def build_data(self) -> tuple[Dataset[Any], Dataset[Any]]:
        data = TensorDataset(torch.zeros(512, 2), torch.arange(512) % 2)
        return data, data

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return nn.functional.binary_cross_entropy_with_logits(
            outputs, targets.float(), reduction="none"
        )


class FakeWorker:
    """Meets its peers in one all-reduce, after the fault that the trial's options ask for.

    Faults: ``none``; ``wait`` leaves a file ``begun`` in the folder that it is given as
    ``wait:FOLDER`` and goes on when there is one named ``go``; on rank 1 ``exit``, at the first
    attempt only.
    """

    def __init__(
        self,
        setup: WorkerSetup,
        rank: int,
        *,
        emit_progress: Callable[[dict[str, Any]], None],
        node: str,
    ) -> None:
        self.rank, self.node, self.emit_progress = rank, node, emit_progress
        self.groups = {
            size: dist.new_group(list(range(size))) for size in sorted(setup.world_sizes)
        }

    def run(self, request: TrialRequest, _checkpoints: object = None) -> RankReport:
        self.emit_progress({"stage": "begun"})
        fault = str(request.trial.workload_options.get("fault", "none"))
        self._misbehave(fault, first=request.attempt == 1)
        total = torch.ones(1)
        if request.trial.world_size > 1:
            dist.all_reduce(total, group=self.groups[request.trial.world_size])
        return RankReport(
            rank=self.rank,
            node=self.node,
            status=Status.SUCCEEDED,
            # Not what these columns are for: the number of ranks that met, and who this was.
            samples=int(total),
            peak_memory_bytes=os.getpid(),
        )

    def describe_failure(self, error: BaseException) -> RankFailure:
        lost = isinstance(error, RuntimeError)
        status = Status.WORKER_DIED if lost else Status.WORKLOAD_ERROR
        return RankFailure(rank=self.rank, status=status, detail=repr(error))

    def _misbehave(self, fault: str, *, first: bool) -> None:
        if fault.startswith("wait:"):
            folder = Path(fault.removeprefix("wait:"))
            (folder / "begun").touch()
            while not (folder / "go").exists():
                time.sleep(0.05)
        if fault == "exit" and self.rank == 1 and first:
            os._exit(1)


def sweep_over(*faults: str, world_sizes: tuple[int, ...] = (2,), **settings: Any) -> SweepSpec:
    """A sweep of one trial for each fault and world size; settings are those of ``resources``."""
    return parse_spec(
        {
            "name": "fakes",
            "workload": "fake_ranks:Tiny",
            "sweep": {
                "world_size": list(world_sizes),
                "per_worker_batch_size": [4],
                "workload_options.fault": list(faults),
            },
            "seeds": 1,
            "training": {"epochs": 1, "learning_rate": 0.1, "reference_batch_size": 8},
            "resources": {"stall_timeout_s": 600, **settings},
        }
    )


def run(spec: SweepSpec, folder: Path, observer: Observer | None = None) -> SweepOutcome:
    """Run a sweep with the fake worker."""
    return run_sweep(
        spec,
        output=folder,
        workload=Tiny,
        worker_factory=FakeWorker,
        progress="plain",
        observer=observer,
        resume_command="ddp-sweep run again",
    )


if __name__ == "__main__":
    ended = run(sweep_over(*sys.argv[2:]), Path(sys.argv[1]))
    print(ended.message)
    sys.exit(ended.exit_code)
