"""Puts the ranks' parts of a checkpoint together and has it written, beside the training."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from ddp_sweep.cluster.gang.shelf import CheckpointShelf
from ddp_sweep.training.messages import TrialRequest

__all__ = ["Arrivals"]

_LATE = "its trial is over"


class _Checkpoint:
    """One checkpoint on its way to the disk."""

    def __init__(self, step: int) -> None:
        self.step = step
        self.parts: dict[int, Awaitable[Any]] = {}
        self.given_up: dict[int, str] = {}
        """Why ranks have no part to give."""
        self.outcome: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()
        """None once it is written, else why it was not."""
        self._lock = threading.Lock()
        self._wanted = True

    def settle(self, problem: str | None) -> None:
        if not self.outcome.done():
            self.outcome.set_result(problem)

    def is_wanted(self) -> bool:
        return self._wanted

    def abandon(self) -> None:
        """From here on it cannot appear any more."""
        with self._lock:
            self._wanted = False
        self.settle(_LATE)

    def finish(self, rename: Callable[[], object]) -> None:
        with self._lock:
            if self._wanted:
                rename()


class Arrivals:
    """The checkpoints of the trial that runs now; lives in the event loop of the mailbox.

    Args:
        shelf: Where they go.
    """

    def __init__(self, shelf: CheckpointShelf) -> None:
        self._shelf = shelf
        self._open = False
        self._incomplete: _Checkpoint | None = None
        self._writing: dict[_Checkpoint, asyncio.Task[None]] = {}

    def begin(self) -> None:
        """A trial begins; until its end, parts are taken."""
        self._open = True

    async def add(
        self, request: TrialRequest, rank: int, step: int, part: Sequence[Awaitable[Any]]
    ) -> str | None:
        """Take a rank's part, and wait until the checkpoint is on the disk.

        Args:
            request: The attempt.
            rank: Whose part it is.
            step: Optimizer steps done when it was taken; all ranks give the same.
            part: Reference of the part, alone in a list so that nobody fetches it too early.

        Returns:
            None, or why it was not written.
        """
        if not self._open:
            return _LATE
        checkpoint = self._at(step)
        checkpoint.parts[rank] = part[0]
        return await self._outcome(request, checkpoint)

    async def give_up(
        self, request: TrialRequest, rank: int, step: int, problem: str
    ) -> str | None:
        """Note that a rank has no part to give, so that the others do not wait for it forever.

        Returns:
            Why the checkpoint was not written, as all ranks hear it.
        """
        if not self._open:
            return _LATE
        checkpoint = self._at(step)
        checkpoint.given_up[rank] = f"{problem} (rank {rank})"
        return await self._outcome(request, checkpoint)

    def _at(self, step: int) -> _Checkpoint:
        """The checkpoint that the ranks take now."""
        checkpoint = self._incomplete
        if checkpoint is None or checkpoint.step != step:
            if checkpoint is not None:
                checkpoint.settle(f"not all workers gave their part of step {checkpoint.step}")
            checkpoint = self._incomplete = _Checkpoint(step)
        return checkpoint

    async def _outcome(self, request: TrialRequest, checkpoint: _Checkpoint) -> str | None:
        """Wait until all ranks have had their say, and for what then becomes of it.

        One that a rank has given up is not settled before: the ranks would go on to the next,
        which could overtake the last part of this one.
        """
        if len(checkpoint.parts) + len(checkpoint.given_up) == request.trial.world_size:
            self._incomplete = None
            if checkpoint.given_up:
                checkpoint.settle(checkpoint.given_up[min(checkpoint.given_up)])
            else:
                self._begin_to_write(request, checkpoint)
        return await asyncio.shield(checkpoint.outcome)

    def _begin_to_write(self, request: TrialRequest, checkpoint: _Checkpoint) -> None:
        task = asyncio.create_task(self._write(request, checkpoint))
        self._writing[checkpoint] = task
        task.add_done_callback(lambda _: self._writing.pop(checkpoint, None))

    async def finish(self, wait_s: float) -> None:
        """The trial is over: after so long at most, nothing is written any more.

        What has no part yet is not waited for, and what is being written breaks off: the next
        trial is timed on the same machine.
        """
        self._open = False
        if self._incomplete is not None:
            self._incomplete.settle(_LATE)
            self._incomplete = None
        if self._writing and wait_s > 0:
            await asyncio.wait(self._writing.values(), timeout=wait_s)
        for checkpoint, task in list(self._writing.items()):
            checkpoint.abandon()
            task.cancel()

    async def _write(self, request: TrialRequest, checkpoint: _Checkpoint) -> None:
        step = checkpoint.step
        try:
            parts = [await checkpoint.parts[rank] for rank in sorted(checkpoint.parts)]
            await asyncio.to_thread(
                self._shelf.write,
                request,
                step,
                parts,
                wanted=checkpoint.is_wanted,
                finish=checkpoint.finish,
            )
        except Exception as error:  # noqa: BLE001 - a full disk, a worker that died meanwhile
            said = error.strerror if isinstance(error, OSError) and error.strerror else error
            checkpoint.settle(f"the checkpoint at step {step} was not written: {said}")
        else:
            checkpoint.settle(None)
