"""Workers that print, and then die in one of several ways."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from fake_ranks import FakeWorker, Tiny, sweep_over

from ddp_sweep.cluster.driver.sweep import SweepOutcome, run_sweep
from ddp_sweep.live import Observer
from ddp_sweep.training.messages import RankReport, TrialRequest, WorkerSetup

__all__ = ["Talker", "run_talking"]


class Talker(FakeWorker):
    """Greets, then has the fault on rank 1; faults beside those of ``FakeWorker``.

    ``kill`` and ``crash``: says so and ends, by SIGKILL or a segmentation fault, in the very next
    moment; ``stuck``: sleeps in C code that holds on to the interpreter; ``raise``: raises;
    ``recycle``: asks for a new process; ``many``: 100,000 lines.
    """

    def __init__(
        self,
        setup: WorkerSetup,
        rank: int,
        *,
        emit_progress: Callable[[dict[str, Any]], None],
        node: str,
    ) -> None:
        print(f"worker {rank} starts")
        super().__init__(setup, rank, emit_progress=emit_progress, node=node)

    def run(self, request: TrialRequest, _checkpoints: object = None) -> RankReport:
        fault = str(request.trial.workload_options["fault"])
        print(f"rank {self.rank} meets {fault}, attempt {request.attempt}")
        if self.rank == 1:
            self._talk(fault)
        report = super().run(request)
        if fault == "recycle" and self.rank == 1:
            return replace(report, recycle_reason="asked to")
        return report

    def _talk(self, fault: str) -> None:
        if fault == "kill":
            print("about to be killed")
            os.kill(os.getpid(), signal.SIGKILL)
        if fault == "crash":
            sys.stderr.write("about to crash")
            ctypes.string_at(0)
        if fault == "stuck":
            print("about to be stuck")
            ctypes.PyDLL(None).sleep(600)
        if fault == "raise":
            raise ValueError("asked to")
        if fault == "many":
            for number in range(100_000):
                print(f"line {number} of many, and it has some length to it")


def run_talking(
    folder: Path, *faults: str, observer: Observer | None = None, stall_timeout_s: float = 600.0
) -> SweepOutcome:
    """Run a sweep of these faults, each trial once."""
    return run_sweep(
        sweep_over(*faults, stall_timeout_s=stall_timeout_s, max_attempts=1),
        output=folder,
        workload=Tiny,
        worker_factory=Talker,
        progress="plain",
        observer=observer,
        resume_command="ddp-sweep run again",
    )
