"""Where the driver's side of a sweep and the ranks of a gang meet.

The ranks of a gang are inside a train function that does not end between trials, so neither its
arguments nor its return value can carry trials and results. They pass through this actor instead:
a rank waits here for its next job and leaves here what it measured. Nobody polls; every wait ends
by an event.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from ddp_sweep.cluster.gang.arrivals import Arrivals
from ddp_sweep.cluster.gang.board import ProgressBoard
from ddp_sweep.cluster.gang.output import OutputFile, Printed
from ddp_sweep.cluster.gang.shelf import CheckpointShelf
from ddp_sweep.cluster.gang.trial_log import Source, TrialLog, Unread
from ddp_sweep.training.messages import RankFailure, RankReport, TrialRequest

__all__ = ["Collected", "Job", "Mailbox", "Member", "Origin"]

_WRITE_GRACE_S = 30.0
"""After a trial was lost, for a checkpoint that is being written: the next attempt wants it."""


@dataclass(frozen=True, kw_only=True)
class Member:
    """One rank's process, as the rank itself describes it."""

    rank: int
    train_rank: int
    """Ray Train's number of the same process."""
    actor: Any
    """Handle of the actor the rank runs in; killing it ends the process."""
    controller: Any
    """Handle of Ray Train's controller of this gang."""
    pid: int
    node_id: str
    group: Any = None
    """Placement group that holds the resources of all ranks."""
    node: str = ""
    """Its name, for people."""
    output: tuple[OutputFile, ...] = ()
    """Where everything lies that the process prints."""

    @property
    def source(self) -> Source:
        """Where its output comes from."""
        return Source(
            rank=self.rank,
            pid=self.pid,
            node_id=self.node_id,
            node=self.node or self.node_id,
            files=self.output,
        )


@dataclass(frozen=True, kw_only=True)
class Origin:
    """The checkpoint that an attempt goes on from."""

    attempt: int
    step: int
    parts: tuple[Any, ...]
    """References of what each rank needs, in rank order."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """One attempt at one trial, for the ranks below ``world_size``."""

    key: str
    """Names the attempt; a delivery under another key is a late one and is dropped."""
    world_size: int
    request: TrialRequest
    origin: Origin | None = None
    passed_over: tuple[str, ...] = ()
    """Why checkpoints that were there are not gone on from."""


@dataclass(frozen=True, kw_only=True)
class Collected:
    """What has come in for a job, or for the start of the gang, when a wait ended."""

    reports: dict[int, RankReport] = field(default_factory=dict)
    failures: tuple[RankFailure, ...] = ()
    """In order of arrival."""
    members: tuple[Member, ...] = ()
    """Ranks that have begun to serve, in rank order."""
    complete: bool = False
    """Every rank that takes part has delivered; at the start: every rank is ready."""
    gang_ended: bool = False
    silent_s: float | None = None
    """Seconds since the last sign of life, where a wait ended because there was none."""
    progress: dict[str, Any] | None = None
    """The newest progress of any rank."""


class Mailbox:
    """Async actor; one a gang. All methods run in one event loop, so none of them locks."""

    def __init__(
        self,
        world_size: int,
        clock: Callable[[], float] = time.monotonic,
        board: ProgressBoard | None = None,
        log: TrialLog | None = None,
        shelf: CheckpointShelf | None = None,
    ) -> None:
        self._world_size = world_size
        self._arrivals = None if shelf is None else Arrivals(shelf)
        self._clock = clock
        self._board = board
        self._log = log
        if board is not None:
            board.workers_starting()
        self._changed = asyncio.Event()
        self._members: dict[int, Member] = {}
        self._idle: set[int] = set()
        self._job: Job | None = None
        self._taken: set[int] = set()
        self._reports: dict[int, RankReport] = {}
        self._failures: list[RankFailure] = []
        self._progress: dict[str, Any] | None = None
        self._last_sign_s = clock()
        self._closed = False
        self._gang_ended = False

    async def join(self, member: Member) -> bool:
        """A rank has begun to serve; False where this rank was here before and must leave.

        A train function that is started a second time in the same gang is a copy that Ray made
        by itself. It must not run trials that the first one has run.
        """
        if member.rank in self._members:
            return False
        self._members[member.rank] = member
        if self._log is not None:
            self._log.join(member.source)
        self._tell()
        return True

    async def next_job(self, rank: int) -> Job | None:
        """Wait for the next job of a rank; None when the gang is to end."""
        self._idle.add(rank)
        self._tell()
        while not self._closed:
            job = self._job
            if job is not None and rank < job.world_size and rank not in self._taken:
                self._taken.add(rank)
                self._idle.discard(rank)
                return job
            await self._change()
        return None

    async def deliver(self, key: str | None, result: RankReport | RankFailure) -> None:
        """Leave what one rank made of a job; ``key`` is None for a start that failed."""
        if key != (self._job.key if self._job else None):
            return
        if isinstance(result, RankFailure):
            self._failures.append(result)
        else:
            self._reports[result.rank] = result
        self._tell()

    async def emit_progress(self, key: str | None, progress: dict[str, Any]) -> None:
        """Note a sign of life of a job."""
        if key == (self._job.key if self._job else None):
            self._progress = progress
            self._last_sign_s = self._clock()
            if self._board is not None and key is not None:
                self._board.note(progress)

    async def waits_for(self, what: str | None) -> None:
        """Note what keeps the workers from starting, in words; None: nothing any more."""
        if self._board is not None and not self._members:
            self._board.workers_starting(what)

    async def printed(self, rank: int, piece: Printed) -> None:
        """A rank has printed something."""
        if self._log is not None:
            self._log.printed(rank, piece)

    async def note(self, text: str) -> None:
        """Add a line of ours to the log of the trial."""
        if self._log is not None:
            self._log.note(text)

    async def unread(self) -> tuple[Unread, ...]:
        """Take no more output of the ranks; what is left of it."""
        return () if self._log is None else self._log.close()

    async def keep_checkpoint(
        self, key: str, rank: int, step: int, part: Sequence[Awaitable[Any]]
    ) -> str | None:
        """Take a rank's part of a checkpoint; answers when all is written, or why it is not."""
        if self._arrivals is None or self._job is None or key != self._job.key:
            return "its trial is over"
        return await self._arrivals.add(self._job.request, rank, step, part)

    async def give_up_checkpoint(self, key: str, rank: int, step: int, problem: str) -> str | None:
        """Note that a rank has no part of a checkpoint to give; answers as for those that have."""
        if self._arrivals is None or self._job is None or key != self._job.key:
            return "its trial is over"
        return await self._arrivals.give_up(self._job.request, rank, step, problem)

    async def collect_start(self, timeout_s: float) -> Collected:
        """Wait until every rank is ready, one has failed, the gang has ended, or for so long."""
        deadline_s = self._clock() + timeout_s
        while not (self._all_ready() or self._failures or self._gang_ended):
            if self._clock() >= deadline_s:
                return self._collected(silent_s=timeout_s)
            await self._change(deadline_s - self._clock())
        return self._collected()

    async def run(self, job: Job, stall_timeout_s: float) -> Collected:
        """Give a job to the ranks and wait for its end.

        That is when every rank has delivered, one has failed, the gang has ended, or nothing has
        moved for ``stall_timeout_s``. One call and not two: calls of an async actor may overtake
        each other.
        """
        if self._arrivals is None:
            return await self._run(job, stall_timeout_s)
        self._arrivals.begin()
        collected = await self._run(job, stall_timeout_s)
        over = collected.complete and not collected.failures
        await self._arrivals.finish(0.0 if over else _WRITE_GRACE_S)
        return collected

    async def _run(self, job: Job, stall_timeout_s: float) -> Collected:
        self._job = job
        self._taken.clear()
        self._reports.clear()
        self._failures.clear()
        self._progress = None
        self._last_sign_s = self._clock()
        if self._board is not None:
            self._board.trial_begins(job.request.trial.trial_id, job.request.attempt)
        if self._log is not None:
            trial_id = job.request.trial.trial_id
            self._log.begin(trial_id, job.request.attempt, job.world_size)
        self._tell()
        while not (self._all_delivered() or self._failures or self._gang_ended):
            silent_s = self._clock() - self._last_sign_s
            if silent_s >= stall_timeout_s:
                return self._collected(silent_s=silent_s)
            await self._change(stall_timeout_s - silent_s)
        return self._collected()

    async def settle(self, grace_s: float) -> Collected:
        """After a failure: wait for the other ranks, for the end of the gang, or for so long."""
        deadline_s = self._clock() + grace_s
        while not (self._all_delivered() or self._gang_ended) and self._clock() < deadline_s:
            await self._change(deadline_s - self._clock())
        return self._collected()

    async def gang_ended(self) -> None:
        """Nobody will come any more: wake whoever waits for the ranks."""
        self._gang_ended = True
        self._tell()

    async def close(self) -> None:
        """Let the ranks go: whoever asks for a job gets None."""
        self._closed = True
        self._tell()

    def _all_ready(self) -> bool:
        return len(self._idle) == self._world_size

    def _all_delivered(self) -> bool:
        assert self._job is not None
        return len(self._reports) + len(self._failures) == self._job.world_size

    def _collected(self, silent_s: float | None = None) -> Collected:
        return Collected(
            reports=dict(self._reports),
            failures=tuple(self._failures),
            members=tuple(self._members[rank] for rank in sorted(self._members)),
            complete=self._all_ready() if self._job is None else self._all_delivered(),
            gang_ended=self._gang_ended,
            silent_s=silent_s,
            progress=self._progress,
        )

    def _tell(self) -> None:
        # Waiters hold on to the event they saw; each change has its own.
        self._changed.set()
        self._changed = asyncio.Event()

    async def _change(self, timeout_s: float | None = None) -> None:
        try:
            await asyncio.wait_for(self._changed.wait(), timeout_s)
        except TimeoutError:
            return
