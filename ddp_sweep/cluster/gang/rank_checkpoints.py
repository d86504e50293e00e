"""One rank's way to the checkpoints on the driver's disk: through the object store."""

from __future__ import annotations

from typing import Any

import numpy as np
import ray
from ray.actor import ActorHandle

from ddp_sweep.cluster.gang.mailbox import Job, Mailbox
from ddp_sweep.training.checkpoints import FoundCheckpoint

__all__ = ["RankCheckpoints"]


class RankCheckpoints:
    """See :class:`ddp_sweep.training.checkpoints.CheckpointStore`.

    A part is copied into the object store of this node; the mailbox fetches it from there and
    writes it, while the training goes on.

    Args:
        job: The attempt.
        rank: This rank.
        mailbox: Where the parts go.
    """

    def __init__(self, job: Job, rank: int, mailbox: ActorHandle[Mailbox], every_s: float) -> None:
        self.every_s = every_s
        self._job = job
        self._rank = rank
        self._mailbox: Any = mailbox
        self._pending: Any = None
        self._problems = list(job.passed_over)

    @classmethod
    def of(cls, job: Job, rank: int, mailbox: ActorHandle[Mailbox]) -> RankCheckpoints | None:
        """For an attempt that takes checkpoints; None for another."""
        every_s = job.request.checkpoint_every_s
        return None if every_s is None else cls(job, rank, mailbox, every_s)

    def find(self) -> FoundCheckpoint | None:
        """The checkpoint to go on from."""
        origin = self._job.origin
        if origin is None:
            return None
        first = ray.get(origin.parts[0])
        own = first if self._rank == 0 else ray.get(origin.parts[self._rank])
        return FoundCheckpoint(
            attempt=origin.attempt, step=origin.step, first_part=first, own_part=own
        )

    def is_free(self) -> bool:
        """Whether all that was handed over before is on the disk, or given up."""
        if self._pending is None:
            return True
        done, _ = ray.wait([self._pending], timeout=0)
        if done:
            problem = ray.get(self._pending)
            self._pending = None
            self._problems += [] if problem is None else [problem]
        return bool(done)

    def keep(self, step: int, part: memoryview) -> None:
        """Hand over this rank's part."""
        reference = ray.put(np.frombuffer(part, dtype=np.uint8))
        # In a list: as an argument of its own it would be fetched before the call begins.
        self._pending = self._mailbox.keep_checkpoint.remote(
            self._job.key, self._rank, step, [reference]
        )

    def give_up(self, step: int, problem: str) -> None:
        """Tell the mailbox, where the other ranks' parts wait for this one."""
        self._mailbox.give_up_checkpoint.remote(self._job.key, self._rank, step, problem)

    def problems(self) -> list[str]:
        """Why checkpoints were not used or not written."""
        self.is_free()
        return list(self._problems)
