"""Trials that take checkpoints into plain files, break off, and go on from what is there."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from trial_runs import worker_of

from ddp_sweep.training.checkpoints import FoundCheckpoint
from ddp_sweep.training.messages import RankReport, TrialRequest

__all__ = [
    "FileStore",
    "Lost",
    "run_from_checkpoint",
    "run_on_full_disk",
    "run_until_lost",
    "steps_kept",
]


class Lost(BaseException):
    """Ends an attempt as the end of its process would: nobody cleans up on its way."""


class FileStore:
    """One file for each part; a checkpoint at every edge of a window.

    Args:
        folder: Where the files are.
        rank: Of this process.
        lost_after: Once a checkpoint at this step or a later one is kept, the attempt is lost
            where the next one would be taken, steps later; None for never.
        killed: Whether the process is really killed then.
    """

    every_s = 0.0

    def __init__(
        self, folder: Path, rank: int, lost_after: int | None = None, killed: bool = False
    ) -> None:
        self.folder, self.rank = folder, rank
        self.lost_after, self.killed = lost_after, killed
        self.steps: list[int] = []

    def find(self) -> FoundCheckpoint | None:
        kept = steps_kept(self.folder)
        if not kept:
            return None
        parts = [(self.folder / f"{kept[-1]}-{rank}").read_bytes() for rank in (0, self.rank)]
        return FoundCheckpoint(attempt=1, step=kept[-1], first_part=parts[0], own_part=parts[1])

    def is_free(self) -> bool:
        return True

    def keep(self, step: int, part: memoryview) -> None:
        if self.lost_after is not None and self.steps and self.steps[-1] >= self.lost_after:
            if self.killed:
                os.kill(os.getpid(), signal.SIGKILL)
            raise Lost
        (self.folder / f"{step}-{self.rank}").write_bytes(part)
        self.steps.append(step)

    def give_up(self, step: int, problem: str) -> None:
        (self.folder / f"{step}-{self.rank}").write_text(problem)

    def problems(self) -> list[str]:
        return []


def steps_kept(folder: Path) -> list[int]:
    """Steps of the checkpoints that are there, in order."""
    return sorted({int(file.name.partition("-")[0]) for file in folder.iterdir()})


def run_until_lost(
    rank: int,
    workload: str,
    wanted: TrialRequest,
    folder: Path,
    lost_after: int,
    killed: bool = False,
) -> int | None:
    """Run a trial that gets lost in mid-training; the step of its last checkpoint."""
    worker = worker_of(rank, workload)
    if rank >= wanted.trial.world_size:
        return None
    store = FileStore(folder, rank, lost_after, killed)
    try:
        worker.run(wanted, store)
    except Lost:
        return store.steps[-1]
    raise AssertionError(f"came to its end; checkpoints at {store.steps}")


class FullStore(FileStore):
    """Finds the disk full at every checkpoint."""

    def keep(self, step: int, part: memoryview) -> None:  # noqa: ARG002
        raise OSError(28, "No space left on device")


def run_on_full_disk(
    rank: int, workload: str, wanted: TrialRequest, folder: Path
) -> RankReport | None:
    """Run a trial of which rank 1 can keep nothing."""
    worker = worker_of(rank, workload)
    if rank >= wanted.trial.world_size:
        return None
    store = (FullStore if rank == 1 else FileStore)(folder, rank)
    return worker.run(wanted, store)


def run_from_checkpoint(
    rank: int, workload: str, wanted: TrialRequest, folder: Path
) -> tuple[RankReport, list[int]] | None:
    """Go on to the end; the report and the steps at which checkpoints were taken."""
    worker = worker_of(rank, workload)
    if rank >= wanted.trial.world_size:
        return None
    store = FileStore(folder, rank)
    report = worker.run(wanted, store)
    return report, store.steps
