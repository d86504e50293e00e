"""Shows what a job prints, as it does, through connections that may break."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable
from contextlib import suppress

from ddp_sweep.cluster.submission.jobs import ClusterJobs, Job
from ddp_sweep.errors import ClusterRefusedError

__all__ = ["follow"]

_OF_RAY = re.compile(
    r"^(\d{4}-\d\d-\d\d \S+\tINFO job_manager\.py:\d+ --|Running entrypoint for job ).*\n", re.M
)
"""Lines that Ray writes into the log of a job."""
_POLL_S = 0.5
_PATIENCE_S = 60.0
"""How long a cluster may be out of reach."""
_SILENCE_S = 60.0
"""After so long without a word the cluster is asked: a connection may end without telling."""


def follow(jobs: ClusterJobs, job_id: str, emit: Callable[[str], None]) -> Job:
    """Hand over what a job prints, as it does, until it has ended.

    A connection that breaks is taken up again where it broke.

    Raises:
        ClusterRefusedError: The cluster stays out of reach.
    """
    log = _Log(emit)
    broken_since: float | None = None
    while True:
        before = log.shown
        try:
            asyncio.run(_tail(jobs, job_id, log))
            job = jobs.get(job_id)
        except ClusterRefusedError:
            now = time.monotonic()
            if broken_since is None or log.received:
                broken_since = now
            if now - broken_since > _PATIENCE_S:
                raise
        else:
            if job.ended and log.shown == before:
                return job
            broken_since = None
        time.sleep(_POLL_S)


async def _tail(jobs: ClusterJobs, job_id: str, log: _Log) -> None:
    """Read a log until the connection ends, or is silent for long."""
    log.received = 0
    loop = asyncio.get_running_loop()
    with suppress(TimeoutError):
        async with asyncio.timeout(_SILENCE_S) as silence:
            async for text in jobs.tail(job_id):
                silence.reschedule(loop.time() + _SILENCE_S)
                log.add(text)


class _Log:
    """Hands over each character once, although every connection begins at the first."""

    def __init__(self, emit: Callable[[str], None]) -> None:
        self._emit = emit
        self.shown = 0
        """Characters handed over so far."""
        self.received = 0
        """Characters that came through this connection."""

    def add(self, text: str) -> None:
        """Take what came next through a connection."""
        fresh = text[max(0, self.shown - self.received) :]
        self.received += len(text)
        if fresh:
            self.shown = self.received
            self._emit(_OF_RAY.sub("", fresh))
